"""Law: greedy and beam decoding give the reference library's outputs and scores.

Our prompts are of different lengths and decoded in one batch behind one cache; the reference decodes them one by one.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from omnitok import presets
from omnitok.assemble import build
from omnitok.beam import Hypothesis, Rules, beam_search
from omnitok.generate import Sampler, Session, generate_all
from omnitok.objectives import Next
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Tokenizer
from omnitok.weights import Reference, import_weights
from tests.laws.parity.case import library, maker, quiet, randomise

pytestmark = pytest.mark.slow

VOCAB, DIM, DEPTH, HEADS, MOST = 37, 32, 2, 4, 14
START, END = 0, 1
LENGTHS = (7, 12, 3, 9, 5)
ROUNDING = 2 * torch.finfo(torch.float32).eps
"""of the logarithm of a probability near 1, which no relative bound holds: it is close to 0, and its error is not"""


class Ids(Tokenizer, frozen=True):
    """Lists of ids in one channel."""

    name: ClassVar[str] = "tokens"

    def channels(self) -> dict[str, Channel]:
        return {"tokens": Channel(vocab=VOCAB, start=START, end=END)}

    def encode(self, raw: Sequence[int]) -> TokenSequence:
        return TokenSequence((Span("tokens", torch.as_tensor(raw, dtype=torch.long)),))

    def place(self, k, meta):
        return "tokens", {}

    def samples(self, seed: int = 0):
        return [[1, 2]]


@dataclass
class Pair:
    """A reference with tuned random weights, and our model with the same."""

    reference: nn.Module
    preset: Reference
    written: bool
    """whether a decoder writes what an encoder reads"""

    def __post_init__(self) -> None:
        channels = Ids().channels()
        self.model = build(self.preset, channels, Next("tokens").heads("", channels)).eval()
        import_weights(self.model, self.reference.state_dict())
        self.prompts = [torch.randint(2, VOCAB, (n,), generator=maker(n)) for n in LENGTHS]

    def session(self) -> Session:
        """All prompts, ready to be continued."""
        each = [Ids().encode(p) for p in self.prompts]
        session = Session(self.model, len(each), attend={"tokens": "causal"})
        return session.read({"encoder": each}).start("tokens", Ids().channels()["tokens"]) if self.written else session.feed(each)

    def want(self, most: int = MOST, **settings: Any) -> list[tuple[list[list[int]], list[float]]]:
        """The reference's new tokens and their scores, one prompt at a time."""
        found = []
        for prompt in self.prompts:
            with quiet(), torch.no_grad():
                out = self.reference.generate(
                    prompt[None], attention_mask=torch.ones_like(prompt[None]), max_new_tokens=most, do_sample=False,
                    pad_token_id=START, eos_token_id=END, return_dict_in_generate=True, output_scores=True, **settings,
                )  # fmt: skip
            begin = 1 if self.written else len(prompt)
            scores = out.sequences_scores.tolist() if settings.get("num_beams", 1) > 1 else []
            found.append(([closed(row[begin:].tolist()) for row in out.sequences], scores))
        return found


def closed(ids: list[int]) -> list[int]:
    """Up to the `end`, which stays."""
    return ids[: ids.index(END) + 1] if END in ids else ids


@torch.no_grad()
def tuned(reference: nn.Module, seed: int, norm: nn.Module, sure: float, head: nn.Module, end: float) -> None:
    """Random weights whose outputs vary, and end early now and then: without this one token wins everywhere.

    Biases are small beside what the tokens say; the `norm` in front of the head decides how sure the model is, and the
    size of the head's row for the end how often that is likely.
    """
    randomise(reference, seed)
    for name, parameter in reference.named_parameters():
        if name.endswith("bias") and parameter.dim() < 2:
            parameter.mul_(0.3)
    for parameter in norm.parameters():
        parameter.mul_(sure)
    head.weight[END] *= end


def gpt2(seed: int) -> Pair:
    hf = library("transformers")
    config = hf.GPT2Config(
        vocab_size=VOCAB, n_embd=DIM, n_layer=DEPTH, n_head=HEADS, n_positions=40, bos_token_id=START, eos_token_id=END
    )
    torch.manual_seed(seed)
    reference = hf.GPT2LMHeadModel(config)
    tuned(reference, seed, reference.transformer.ln_f, 0.7, reference.lm_head, 1.4)
    with torch.no_grad():
        reference.transformer.wpe.weight.mul_(6)
    return Pair(reference, presets.gpt2(dim=DIM, depth=DEPTH, heads=HEADS, positions=40), False)


def t5(seed: int) -> Pair:
    hf = library("transformers")
    config = hf.T5Config(
        vocab_size=VOCAB, d_model=DIM, d_kv=DIM // HEADS, d_ff=64, num_layers=DEPTH, num_heads=HEADS,
        decoder_start_token_id=START, pad_token_id=START, eos_token_id=END, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    reference = hf.T5ForConditionalGeneration(config)
    tuned(reference, seed, reference.decoder.final_layer_norm, 1.0, reference.lm_head, 2.5)
    with torch.no_grad():
        for name, parameter in reference.decoder.named_parameters():
            if name.endswith(("Attention.o.weight", "wo.weight")):
                parameter.mul_(5)
            if "relative" in name:
                parameter.mul_(10)
    return Pair(reference, presets.t5(dim=DIM, depth=DEPTH, heads=HEADS, hidden=64, tied=False), True)


def marian(seed: int) -> Pair:
    hf = library("transformers")
    sides = {"layers": DEPTH, "attention_heads": HEADS, "ffn_dim": 64}
    config = hf.MarianConfig(
        vocab_size=VOCAB, d_model=DIM, max_position_embeddings=40, activation_function="swish", scale_embedding=True,
        decoder_start_token_id=START, pad_token_id=START, eos_token_id=END, forced_eos_token_id=None,
        **{f"{side}_{name}": size for name, size in sides.items() for side in ("encoder", "decoder")},
    )  # fmt: skip
    torch.manual_seed(seed)
    reference = hf.MarianMTModel(config)
    tuned(reference, seed, reference.model.decoder.layers[-1].final_layer_norm, 10.0, reference.lm_head, 2.0)
    with torch.no_grad():
        reference.final_logits_bias.normal_(generator=maker(seed))
        for stream in (reference.model.encoder, reference.model.decoder):  # tables of sinusoids are parameters there
            stream.embed_positions.weight.copy_(stream.embed_positions.create_weight())
        for layer in reference.model.decoder.layers:
            layer.fc2.weight.mul_(10)
            layer.encoder_attn.out_proj.weight.mul_(5)
    preset = presets.marian(dim=DIM, depth=DEPTH, heads=HEADS, hidden=64, positions=40)
    return Pair(reference, preset, True)


MODELS: dict[str, Callable[[int], Pair]] = {"gpt2": gpt2, "t5": t5, "marian": marian}
SEEDS = {"gpt2": (2, 5), "t5": (6, 8), "marian": (4, 5)}
"""those whose outputs vary most"""


@pytest.fixture(scope="module", params=[(m, s) for m in MODELS for s in SEEDS[m]], ids=lambda p: f"{p[0]}-{p[1]}")
def pair(request: pytest.FixtureRequest) -> Pair:
    name, seed = request.param
    return MODELS[name](seed)


def ids_of(found: Hypothesis) -> list[int]:
    return [*found.tokens.spans[0].ids.tolist(), *([END] if found.ended else [])]


def test_greedy(pair: Pair) -> None:
    made = generate_all(pair.session(), Ids(), "tokens", MOST, Sampler(0.0))
    want = [rows[0] for rows, _ in pair.want()]
    assert [m.spans[0].ids.tolist() for m in made] == [[i for i in row if i != END] for row in want]


RULES = [
    Rules(beams, penalty, early)
    for beams, penalty, early in itertools.product((1, 3, 5), (0.6, 1.0, 2.0), (False, True, "never"))
]


@pytest.mark.parametrize("rules", RULES, ids=lambda r: f"{r.beams}-{r.length_penalty}-{r.early_stopping}")
def test_beams(pair: Pair, rules: Rules) -> None:
    """All beams, in their order, with their scores."""
    found = beam_search(pair.session(), Ids(), "tokens", MOST, rules)
    settings = {"length_penalty": rules.length_penalty, "early_stopping": rules.early_stopping}
    settings = {} if rules.beams == 1 else settings
    want = pair.want(num_beams=rules.beams, num_return_sequences=rules.beams, **settings)
    for got, (rows, scores) in zip(found, want, strict=True):
        assert [ids_of(h) for h in got] == rows
        if scores:
            assert [h.score for h in got] == pytest.approx(scores, rel=1e-5, abs=ROUNDING)


@pytest.mark.parametrize("beams", [1, 4])
def test_forbidden_ids_and_a_forced_end(pair: Pair, beams: int) -> None:
    """As the published translators of Marian are decoded."""
    never = (START, *{i for rows, _ in pair.want() for i in rows[0][:1] if i != END})
    rules = Rules(beams, never=never, close=True)
    found = beam_search(pair.session(), Ids(), "tokens", 6, rules)
    want = pair.want(6, num_beams=beams, num_return_sequences=beams, bad_words_ids=[[i] for i in never], forced_eos_token_id=END)
    assert [[ids_of(h) for h in got] for got in found] == [rows for rows, _ in want]
    assert all(h.ended for got in found for h in got)


def test_the_outputs_tell_something(pair: Pair) -> None:
    """Answers differ between prompts and beams, hold different tokens, some end early, and the settings matter."""
    every = {(p, e): pair.want(num_beams=5, num_return_sequences=5, length_penalty=p, early_stopping=e)
             for p, e in ((0.6, False), (2.0, False), (2.0, True))}  # fmt: skip
    best = [tuple(tuple(rows[0]) for rows, _ in found) for found in every.values()]
    rows = [row for found in every.values() for rows, _ in found for row in rows]
    assert len(set(best[0])) > 2 and len(set(best)) > 1
    assert len({len(row) for row in rows}) > 4 and any(row[-1] != END for row in rows)
    assert max(len(set(row)) for row in rows) > 3
