"""Residuals, streams and caches: what only training does, what streams share, and documents that move in a cache."""

import pytest
import torch

from omnitok.assemble import build
from omnitok.batch import Ask, Document, collate
from omnitok.errors import ConfigError, SequenceError, UnknownNameError
from omnitok.generate import Session
from omnitok.model import ExtraLoss, Model, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel

DIM = 16
CHANNELS = {"words": Channel(vocab=11)}
ATTENTION = Residual("attention", Attention(2), pre=Norm())
MLPS = Residual("mlp", MLP(32), pre=Norm())


def words(n: int, seed: int = 0) -> TokenSequence:
    return TokenSequence((Span("words", torch.randint(11, (n,), generator=torch.Generator().manual_seed(seed))),))


def model_of(*blocks: tuple[Residual, ...], **stream):
    torch.manual_seed(0)
    return build(Model({"main": Stream(DIM, blocks, **stream)}), CHANNELS)


def hidden(model, documents):
    return model.hidden(collate(documents, model.schema, sort=False))[model.main]


def test_drop_path_leaves_out_whole_documents_and_keeps_the_mean() -> None:
    lengths = (3, 5, 2) * 200
    model = model_of((MLPS.replace(drop_path=0.3),)).train()
    documents = [words(n) for n in lengths]
    segment = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    x = hidden(model_of(), documents)  # the same embedding, without the block
    torch.manual_seed(1)
    with torch.no_grad():
        model.channels.load_state_dict(model_of().channels.state_dict())
        moved = hidden(model, documents) - x
        whole = hidden(model.eval(), documents) - x
    dropped = (moved == 0).all(1)
    of_document = torch.zeros(len(lengths)).index_add(0, segment, dropped.float()) / torch.tensor(lengths)
    assert set(of_document.tolist()) == {0.0, 1.0}, "a document drops as a whole"
    assert abs(of_document.mean() - 0.3) < 0.06
    torch.testing.assert_close(moved[~dropped], whole[~dropped] / 0.7)


def test_a_gain_scales_every_column() -> None:
    model = model_of((MLPS.replace(gain=0.1),))
    plain = model_of((MLPS,))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.endswith("gain")})
    documents = [words(4)]
    with torch.no_grad():
        start = hidden(model_of(), documents)
        start_of = model_of()
        start_of.channels.load_state_dict(model.channels.state_dict())
        start = hidden(start_of, documents)
        torch.testing.assert_close(hidden(model, documents) - start, 0.1 * (hidden(plain, documents) - start))


def test_without_a_skip_the_branch_replaces_the_stream() -> None:
    model = model_of((Residual("mlp", MLP(8, bias=False), skip=False),))
    with torch.no_grad():
        model.streams["main"].blocks[0]["mlp"].mixer.down.weight.zero_()
        assert float(hidden(model, [words(3)]).abs().max()) == 0


@pytest.mark.parametrize("backend", ["split", "rows", "dense"])
def test_attention_dropout_acts_in_training_only_and_keeps_the_mean(backend: str) -> None:
    model = model_of((ATTENTION.replace(mixer=Attention(2, dropout=0.4)),))
    documents = [words(6)]
    batch = collate(documents, model.schema)
    with torch.no_grad():
        still = model.eval().hidden(batch, backend=backend)["main"]
        assert torch.equal(still, model.hidden(batch, backend=backend)["main"])
        model.train()
        draws = torch.stack([model.hidden(batch, backend=backend)["main"] for _ in range(600)])
    assert float(draws.std(0).mean()) > 0
    error = (draws.mean(0) - still).abs().max() / still.abs().max()
    assert error < 0.1, f"the mean over draws is {error:.2f} off"


def test_a_schedule_runs_blocks_again_with_the_same_weights() -> None:
    once = model_of((ATTENTION, MLPS), (MLPS,))
    again = model_of((ATTENTION, MLPS), (MLPS,), schedule=(0, 1, 1))
    thrice = model_of((ATTENTION, MLPS), (MLPS,), (MLPS,))
    state = once.state_dict()
    again.load_state_dict(state)
    thrice.load_state_dict({**state, **{k.replace("blocks.1", "blocks.2"): v for k, v in state.items() if "blocks.1" in k}})
    with torch.no_grad():
        assert torch.equal(hidden(again, [words(5)]), hidden(thrice, [words(5)]))
    with pytest.raises(ConfigError, match="must name each of its 2 blocks"):
        model_of((MLPS,), (MLPS,), schedule=(0, 0))


def test_streams_that_are_alike_share_their_parameters() -> None:
    tower = Stream(DIM, ((ATTENTION, MLPS),), Norm())
    model = build(Model({"one": tower, "two": Stream(DIM, like="one", attend="full")}), CHANNELS)
    assert list(model.streams) == ["one"]
    out = model.hidden(collate([Document({"one": words(4), "two": words(4)})], model.schema))
    assert torch.equal(out["one"][-1], out["two"][-1]) and not torch.allclose(out["one"][0], out["two"][0])
    with pytest.raises(ConfigError, match="is like 'three'"):
        build(Model({"one": tower, "two": Stream(DIM, like="three")}), CHANNELS)


class Size(ExtraLoss, frozen=True):
    """For the test: how many documents there are."""

    def value(self, notes, layout):
        return torch.tensor(float(layout.segments))


def test_a_stream_adds_its_losses_only_where_they_are_asked_for() -> None:
    model = model_of((MLPS,), losses=(Size(0.5),))
    batch, extra = collate([words(3), words(2)], model.schema), []
    model(batch)
    model(batch, extra=extra)
    assert [float(x) for x in extra] == [1.0]


def encoder_decoder():
    torch.manual_seed(0)
    cross = Residual("cross", Attention(2, source="memory"), pre=Norm())
    encoder = Stream(DIM, ((ATTENTION, MLPS),), Norm(), attend="full")
    decoder = Stream(DIM, ((ATTENTION, cross, MLPS),) * 2, Norm(), memory="encoder", attend="causal")
    return build(Model({"encoder": encoder, "decoder": decoder}), CHANNELS).eval()


def test_documents_go_on_after_they_were_selected() -> None:
    """Dropped, doubled and reordered documents give what a full pass over each of them gives, memory and all."""
    model = encoder_decoder()
    sources, starts = [words(n, n) for n in (3, 6, 2)], [words(n, 10 + n) for n in (2, 1, 4)]
    session = Session(model, 3).read({"encoder": sources}).feed(starts)
    chosen = [2, 0, 2, 2]
    session.select(chosen)
    more = [words(2, 20 + i) for i in range(4)]
    session.feed(more).select([3, 1]).feed([words(1, 30), words(3, 31)])
    for k, (i, tail) in enumerate(((3, words(1, 30)), (1, words(3, 31)))):
        document = Document({"encoder": sources[chosen[i]], "decoder": starts[chosen[i]] + more[i] + tail})
        torch.testing.assert_close(session.last[k], hidden(model, [document])[-1], atol=1e-5, rtol=1e-5)
        assert session.history[k] == document.streams["decoder"]


def test_a_decoder_needs_what_it_reads() -> None:
    model = encoder_decoder()
    with pytest.raises(SequenceError, match="reads stream 'encoder': give it to the session first"):
        Session(model).feed(words(2))
    with pytest.raises(UnknownNameError, match="'decoder'"):
        Session(model).read({"decoder": words(2)})
    with pytest.raises(SequenceError, match="2 sequences of 'encoder'"):
        Session(model).read({"encoder": [words(2), words(1)]})


def test_both_sides_of_a_comparison_lie_side_by_side() -> None:
    model = encoder_decoder()
    one = torch.zeros(1, dtype=torch.long)
    documents = []
    for i in range(3):
        other = Ask("encoder:none", one + i, one, torch.ones(1), stream="encoder")
        ask = Ask("decoder:none", one, one, torch.ones(1), stream="decoder", other=other)
        documents.append(Document({"encoder": words(5, i), "decoder": words(i + 1, i)}, {"pair": ask}))
    batch = collate(documents, model.schema)
    model.heads["decoder:none"] = model.heads["encoder:none"] = Same()
    out = model(batch)["pair"]
    assert out.shape == (3, 2, DIM)
    for i, document in enumerate(documents):
        alone = model.hidden(collate([document], model.schema))
        torch.testing.assert_close(out[i], torch.stack([alone["decoder"][0], alone["encoder"][i]]), atol=1e-5, rtol=1e-5)


class Same(torch.nn.Module):
    def forward(self, x, ctx):
        return x


def test_slots_that_hold_nothing_hold_no_noise() -> None:
    """Fresh memory may hold anything, NaN too: selected documents of different lengths must not read it."""
    model = encoder_decoder()
    session = Session(model, 2).read({"encoder": [words(3), words(2)]}).feed([words(9, 1), words(2, 2)])
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        session.select([1, 1])
        session.feed([words(12, 3), words(1, 4)])
    finally:
        torch.use_deterministic_algorithms(False)
    document = Document({"encoder": words(2), "decoder": words(2, 2) + words(1, 4)})
    torch.testing.assert_close(session.last[1], hidden(model, [document])[-1], atol=1e-5, rtol=1e-5)
