"""Beam search: it finds what an exhaustive search finds, keeps documents apart, and stops where it should."""

import itertools
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitok.assemble import build
from omnitok.batch import Ask, Document, collate
from omnitok.beam import Rules, beam_search
from omnitok.errors import ConfigError
from omnitok.generate import Sampler, Session, generate_all
from omnitok.nn.steps import Axis
from omnitok.objectives import Next
from omnitok.presets.generic import Decoder
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Tokenizer
from tests.laws import worlds
from tests.test_generate import Beats
from tests.translation import CHANNELS, MODEL, line

VOCAB, END = 4, 3


class Few(Tokenizer, frozen=True):
    """Few ids, in steps; an object is as long as its meta says."""

    name: ClassVar[str] = "few"

    def channels(self):
        return {"few": Channel(vocab=VOCAB, end=END, axes=(Axis("step", 16),))}

    def encode(self, raw, length=99):
        step = torch.arange(len(raw))
        return TokenSequence((Span("few", torch.tensor(raw, dtype=torch.long), axes={"step": step}, meta={"length": length}),))

    def place(self, k, meta):
        return None if k >= meta.get("length", 99) else ("few", {"step": k})

    def samples(self, seed=0):
        return [[1, 2]]


FEW = Few()


def model_of(tokenizer: Tokenizer, seed: int):
    channels = tokenizer.channels()
    heads = {name: steps for c in channels for name, steps in Next(c).heads("", channels).items()}
    torch.manual_seed(seed)
    model = build(Decoder(16, 1, 2), channels, heads)
    worlds.randomise(model, seed)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.mul_(6)
    return model.eval()


def likelihoods(model, prompt: list[int], answers: list[list[int]]) -> list[float]:
    """Summed log-probabilities of every answer, in one full pass."""
    documents = []
    for answer in answers:
        sequence, rows = FEW.encode(prompt + answer), torch.arange(len(answer)) + len(prompt) - 1
        ask = Ask("few", rows, torch.tensor(answer), torch.ones(len(answer)), source=rows + 1)
        documents.append(Document({"main": sequence}, {"few": ask}, {"few": "causal"}))
    batch = collate(documents, model.schema)
    with torch.no_grad():
        each = model(batch)["few"].log_softmax(-1).gather(1, batch.asks["few"].target[:, None])[:, 0]
    return [float(part.sum()) for part in each.split([len(a) for a in answers])]


def answers(most: int):
    """Every answer: closed by `end`, or as long as allowed."""
    for n in range(most + 1):
        for ids in itertools.product(range(END), repeat=n):
            yield [*ids, *([END] if n < most else [])]


def plain(found) -> list[list[int]]:
    return [[*h.tokens.spans[0].ids.tolist(), *([END] if h.ended else [])] for h in found]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_the_best_of_all_answers(seed, penalty):
    """With as many beams as there are prefixes nothing is lost: scores and order are those of trying every answer."""
    model, prompt, most, beams = model_of(FEW, seed), [0, 1], 3, 27
    tried = list(answers(most))
    every = {tuple(a): x / len(a) ** penalty for a, x in zip(tried, likelihoods(model, prompt, tried), strict=True)}
    best = sorted(every, key=lambda a: -every[a])[:5]
    session = Session(model).feed(FEW.encode(prompt))
    found = beam_search(session, FEW, "few", most, Rules(beams, penalty, "never"))[0]
    assert plain(found)[:5] == [list(a) for a in best]
    assert [h.score for h in found[:5]] == pytest.approx([every[a] for a in best], abs=1e-4)


def by_lists(model, prompt: list[int], most: int, rules: Rules) -> list[tuple[float, list[int]]]:
    """The search in plain lists: of twice as many candidates as beams the first half may end, and the best that do not go on."""
    running, ended = [(0.0, [])], []
    for length in range(1, most + 1):
        logs = [Session(model).feed(FEW.encode(prompt + ids)).ask("few")[0].log_softmax(-1).tolist() for _, ids in running]
        every = [(total + x, [*ids, i]) for (total, ids), row in zip(running, logs, strict=True) for i, x in enumerate(row)]
        best = sorted(every, key=lambda c: -c[0])[: 2 * rules.beams]
        closed = [ids[-1] == END or length == most for _, ids in best]
        ended += [
            (t / length**rules.length_penalty, ids) for (t, ids), c in list(zip(best, closed, strict=True))[: rules.beams] if c
        ]
        ended = sorted(ended, key=lambda c: -c[0])[: rules.beams]
        running = [c for c, over in zip(best, closed, strict=True) if not over][: rules.beams]
        full = len(ended) == rules.beams
        if not running or (full and rules.first):
            break
        reach = most if rules.early_stopping == "never" else length
        if full and running[0][0] / reach**rules.length_penalty <= ended[-1][0]:
            break
    return ended


@pytest.mark.parametrize("early", [True, False, "never"])
@pytest.mark.parametrize("beams", [1, 2, 3])
def test_a_narrow_beam_is_the_search_in_plain_lists(beams, early):
    for seed, penalty in itertools.product(range(4), (0.5, 2.0)):
        model, prompt, rules = model_of(FEW, seed), [seed % 3, 1], Rules(beams, penalty, early)
        (found,) = beam_search(Session(model).feed(FEW.encode(prompt)), FEW, "few", 5, rules)
        want = by_lists(model, prompt, 5, rules)
        assert plain(found) == [ids for _, ids in want]
        assert [h.score for h in found] == pytest.approx([score for score, _ in want], abs=1e-4)


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=4),
    beams=st.integers(1, 4), penalty=st.sampled_from([0.5, 1.0, 2.0]), early=st.sampled_from([True, False, "never"]),
)  # fmt: skip
def test_documents_do_not_matter_to_each_other(sizes, beams, penalty, early):
    """Ragged prompts, some of them complete or almost: searched together as alone; scores are what they say."""
    model, rules = model_of(FEW, 1), Rules(beams, penalty, early)
    prompts = [torch.randint(END, (n,), generator=worlds.maker(n + length)).tolist() for n, length in sizes]
    fed = [FEW.encode(p, len(p) + length) for p, (_, length) in zip(prompts, sizes, strict=True)]
    together = beam_search(Session(model, len(fed)).feed(fed), FEW, "few", 6, rules)
    for prompt, tokens, (_, length), found in zip(prompts, fed, sizes, together, strict=True):
        (alone,) = beam_search(Session(model).feed(tokens), FEW, "few", 6, rules)
        assert plain(found) == plain(alone)
        assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-4)
        assert all(len(h.tokens) <= min(6, length) and h.tokens.spans[0].meta == {"length": len(prompt) + length} for h in found)
        assert all(h.tokens.spans[0].axes["step"].tolist() == list(range(len(prompt), len(prompt) + len(h.tokens)))
                   for h in found if len(h.tokens))  # fmt: skip
        if length:
            best = plain(found)[0]
            (total,) = likelihoods(model, prompt, [best])
            assert found[0].score == pytest.approx(total / len(best) ** penalty, abs=1e-4)


@pytest.mark.parametrize("early", [True, False, "never"])
@pytest.mark.parametrize("seed", range(4))
def test_one_beam_is_greedy(seed, early):
    model, prompts = model_of(FEW, seed), [FEW.encode([0]), FEW.encode([1, 2, 2]), FEW.encode([2, 0])]
    greedy = generate_all(Session(model, 3).feed(prompts), FEW, "few", 5, Sampler(0.0))
    found = beam_search(Session(model, 3).feed(prompts), FEW, "few", 5, Rules(1, 2.0, early))
    assert [h.tokens for (h,) in found] == greedy and all(h.ended == (len(g) < 5) for (h,), g in zip(found, greedy, strict=True))


def test_a_decoder_is_searched_as_its_full_pass_says():
    """Documents with another memory each; scores are recomputed from whole passes."""
    g = worlds.maker(0)
    memory = [worlds.sound(n, g) for n in (3, 6, 1)]

    class Lines(Tokenizer, frozen=True):
        name: ClassVar[str] = "lines"

        def channels(self):
            return {"lines": CHANNELS["lines"]}

        def encode(self, raw):
            return line("lines", raw)

        def place(self, k, meta):
            return "lines", {}

        def samples(self, seed=0):
            return [[1]]

    def session(sequences: list[TokenSequence]) -> Session:
        return (
            Session(MODEL, len(sequences), attend={"lines": "causal"})
            .read({"encoder": sequences})
            .start("lines", CHANNELS["lines"])
        )

    found = beam_search(session(memory), Lines(), "lines", 4, Rules(3))
    for sequence, hypotheses in zip(memory, found, strict=True):
        for h in hypotheses:
            ids, total = h.tokens.spans[0].ids.tolist() + [39] * h.ended, 0.0
            for k, token in enumerate(ids):
                running = session([sequence])
                running = running.feed(line("lines", ids[:k])) if k else running
                total += float(running.ask("lines")[0].log_softmax(-1)[token])
            assert h.score == pytest.approx(total / len(ids), abs=1e-4)
    assert len({str(h[0].tokens.spans[0].ids.tolist()) for h in found}) > 1


def test_beams_keep_their_memory():
    """Rows change places within documents and across them; each goes on as one that was never moved."""
    g = worlds.maker(3)
    memory, begun = [worlds.sound(n, g) for n in (4, 2, 5)], [line("lines", [k, k + 1]) for k in range(3)]

    def session(order: list[int]) -> Session:
        new = Session(MODEL, len(order), attend={"lines": "causal"}).read({"encoder": [memory[i] for i in order]})
        return new.feed([begun[i] for i in order])

    running, order = session([0, 1, 2]), [0, 1, 2]
    for turn, chosen in enumerate(([0, 0, 1, 1, 2, 2], [1, 0, 3, 3, 4, 5], [4, 4, 0, 2], [1, 0, 3], [2, 0])):
        order = [order[i] for i in chosen]
        token = [line("lines", [turn + 5])] * len(order)
        running.select(chosen).feed(token)
        begun = [b + token[0] for b in begun]
        torch.testing.assert_close(running.last, session(order).last, rtol=1e-5, atol=1e-5)
        assert running.history == [begun[i] for i in order]


def test_another_memory_belongs_to_its_row():
    """Two rows that read one memory are given one each, and change places."""
    g = worlds.maker(4)
    memory, begun = [worlds.sound(n, g) for n in (4, 2, 5)], line("lines", [1])
    running = Session(MODEL, 1, attend={"lines": "causal"}).read({"encoder": memory[0]}).select([0, 0])
    running.read({"encoder": memory[1:]}).feed([begun, begun]).select([1, 0]).feed([line("lines", [2])] * 2)
    fresh = Session(MODEL, 2, attend={"lines": "causal"}).read({"encoder": memory[:0:-1]}).feed([line("lines", [1, 2])] * 2)
    torch.testing.assert_close(running.last, fresh.last, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"beams": 0}, {"early_stopping": "soon"}])
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match="beams >= 1"):
        Rules(**wrong)


def test_features_are_not_searched():
    beats = Beats()
    with pytest.raises(ConfigError, match="holds features: use generate"):
        beam_search(Session(model_of(beats, 0)), beats, "beats/level", 3)
