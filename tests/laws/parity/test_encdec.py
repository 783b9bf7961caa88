"""Laws of encoder-decoder presets beyond parity: buckets of distances, published configurations, forms of a checkpoint."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import CheckpointError, ConfigError, LengthError, UnknownNameError
from omnitok.generate import Session
from omnitok.model import Transformer
from omnitok.nn.buckets import Buckets
from omnitok.objectives import Seq2Seq
from omnitok.presets.reference.t5 import T5
from omnitok.tokenizer import Channel
from omnitok.weights import export_weights, import_weights
from tests.laws.laws import cached_equals_full
from tests.laws.parity.case import CASES, VOCAB, Case, cast, library, quiet, randomise
from tests.laws.parity.encdec import line

TINY = {"dim": 8, "depth": 1, "heads": 2}
NEW = {"act": "gelu_tanh", "gated": True}


# -- buckets


def module(**fields):
    return Buckets(**fields).build(2, 4)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(count=st.integers(4, 70), distance=st.integers(2, 1000), both=st.booleans())
def test_buckets_are_the_references_for_every_distance(count: int, distance: int, both: bool) -> None:
    theirs = library("transformers.models.t5.modeling_t5").T5Attention._relative_position_bucket
    side = count // 2 if both else count
    if distance <= side // 2:
        with pytest.raises(ConfigError, match="a distance of more than half as many"):
            module(count=count, max_distance=distance, bidirectional=both)
        return
    ahead = torch.arange(-1500, 1501)
    got = module(count=count, max_distance=distance, bidirectional=both).bucket(ahead)
    assert torch.equal(got, theirs(ahead, both, count, distance))


def test_buckets_by_hand() -> None:
    """Four a side: 0, 1, then distances 2 to 4 and 5 to the end, where sqrt(16 / 2) * 2 = 5.7 is the border."""
    both, one = module(count=8, max_distance=16), module(count=4, max_distance=16, bidirectional=False)
    assert both.bucket(torch.tensor([0, -1, -2, -5, -6, -99, 1, 2, 6, 99])).tolist() == [0, 1, 2, 2, 3, 3, 5, 6, 7, 7]
    assert one.bucket(torch.tensor([0, -1, -2, -5, -6, -99, 1, 99])).tolist() == [0, 1, 2, 2, 3, 3, 0, 0]


def test_too_few_buckets_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 buckets on a side"):
        module(count=2)


# -- noise of training

COPIES = 1500


@torch.no_grad()
def spreads(case: Case) -> tuple[float, float]:
    """Mean variance of our answers and of theirs over copies of one document, in training."""
    model, reference, raw = case.model().train(), case.reference.train(), cast(case.raw[-1], torch.float32)
    one, two = (x.expand(COPIES, *x.shape) for x in raw)
    with quiet():
        if case.hidden:
            mask = torch.nn.Transformer.generate_square_subsequent_mask(len(raw[1]))
            theirs = reference.decoder(two, reference.encoder(one), mask, tgt_is_causal=True)
        else:
            theirs = reference(input_ids=one, decoder_input_ids=two, use_cache=False).logits
    batch = collate([case.document(raw).replace(name=str(i)) for i in range(COPIES)], model.schema)
    hidden = model.hidden(batch)
    ours = hidden["decoder"] if case.hidden else model.answer(hidden, batch.asks["next"])
    return tuple(x.view(COPIES, -1).var(0).mean().item() for x in (ours, theirs))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5", "t5: version 1.1", "marian", "transformer", "transformer: norms in front"])
def test_training_is_as_noisy_as_the_references(name: str) -> None:
    """Dropout in all places and nowhere else: to leave out any one place changes the variance by 3 to 60 %."""
    torch.manual_seed(0)
    ours, theirs = spreads(CASES[name]())
    assert ours == pytest.approx(theirs, rel=0.02)


# -- checkpoints of both forms


def t5(**fields):
    torch.manual_seed(0)
    model = build(presets.t5(**TINY, **fields), {"tokens": Channel(vocab=VOCAB)})
    randomise(model)
    return model


def test_an_untied_head_is_read_from_files_of_every_form() -> None:
    """All copies of the table, one of them, or none beside the head; or a head that the file left out as it is the table."""
    model = t5(tied=False, **NEW)
    whole = export_weights(model)
    copies = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
    for gone in ([], copies[:1], copies):
        other = t5(tied=False, **NEW)
        import_weights(other, {k: v for k, v in whole.items() if k not in gone})
        assert all(torch.equal(v, whole[k]) for k, v in export_weights(other).items())
    import_weights(other, {k: v for k, v in whole.items() if k not in (*copies, "lm_head.weight")})
    assert torch.equal(export_weights(other)["lm_head.weight"], whole["shared.weight"])
    with pytest.raises(CheckpointError, match="copies of one tied parameter differ"):
        import_weights(other, whole | {copies[0]: whole["shared.weight"] + 1})


def test_a_tied_model_refuses_an_untied_file() -> None:
    with pytest.raises(CheckpointError, match=r"lm_head.weight: copies of one tied parameter differ"):
        import_weights(t5(**NEW), export_weights(t5(tied=False, **NEW)))


def test_a_tensor_that_the_reference_drops_is_dropped() -> None:
    model = t5()
    stray = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.zeros(32, 2)}
    import_weights(model, export_weights(model) | stray)


# -- published configurations


@pytest.mark.parametrize(("preset", "size"), [(p, s) for p in ("t5", "marian") for s in presets.get(p).published])
def test_published_sizes_survive_their_configuration(preset: str, size: str) -> None:
    cls, found = presets.get(preset), presets.get(preset).published[size]
    ours = cls(**found.fields)
    assert cls.from_config(ours.to_config(found.channels)) == (ours, dict(found.channels))


def test_what_the_library_writes_of_a_version_1_1_is_read_as_one() -> None:
    """Version 5 of the library says that every head is tied, and keeps the truth in another setting."""
    said = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    assert T5.from_config(said)[0] == T5.from_config(said | {"tie_word_embeddings": True, "scale_decoder_outputs": False})[0]
    assert T5.from_config(said)[0] == presets.t5(tied=False, **NEW)
    assert T5.from_config({})[0] == presets.t5()


def test_settings_that_no_preset_follows_are_refused_by_name() -> None:
    for preset, config, match in [
        ("t5", {"feed_forward_proj": "gated-tofu"}, "feed_forward_proj"),
        ("t5", {"is_encoder_decoder": False}, "is_encoder_decoder"),
        ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings"),
        ("marian", {"decoder_ffn_dim": 3}, "decoder_ffn_dim"),
        ("marian", {"encoder_layerdrop": 0.1}, "encoder_layerdrop"),
        ("marian", {"activation_function": "tofu"}, "activation_function"),
    ]:
        with pytest.raises((ConfigError, UnknownNameError), match=match):
            presets.get(preset).from_config(config)


def test_what_has_no_published_name_is_not_written() -> None:
    for preset, start, match in [
        (presets.t5(tied=False, scaled=True), 0, "untied head"),
        (presets.t5(act="gelu", gated=True), 0, "act = 'gelu'"),
        (presets.t5(), None, "t5: the channel of role 'tokens' has no `start`"),
        (presets.marian(), None, "marian: the channel of role 'tokens' has no `start`"),
    ]:
        with pytest.raises(ConfigError, match=match):
            preset.to_config({"tokens": Channel(vocab=VOCAB, start=start)})


def test_tables_of_sinusoids_end() -> None:
    model = build(presets.marian(**TINY, positions=8), {"text": Channel(vocab=VOCAB)})
    with pytest.raises(LengthError, match=r"9 tokens in stream 'encoder', whose positions end at 8"):
        Session(model).read({"encoder": line(torch.arange(9))})
    session = Session(model).read({"encoder": line(torch.arange(8))}).feed(line(torch.arange(8)))
    with pytest.raises(LengthError, match="9 tokens in stream 'decoder'"):
        session.feed(line(torch.arange(1)))


# -- the paper's input


def paper() -> Transformer:
    channels = {"text": Channel(vocab=VOCAB)}
    model = build(presets.transformer(**TINY), channels, Seq2Seq("text").heads("", channels))
    randomise(model)
    return model.double()


@torch.no_grad()
def test_the_transformer_reads_scaled_embeddings_and_sinusoids() -> None:
    """Section 3.4 and 3.5, in a loop; sines and cosines lie in halves, which a learned map in front cannot tell."""
    model, ids = paper(), torch.tensor([3, 1, 4, 1, 5])
    stream, seen = model.stream("encoder"), []
    stream.steps.register_forward_hook(lambda module, given, out: seen.append(out))
    batch = collate([Document({"encoder": line(ids), "decoder": line(ids)})], model.schema)
    model.hidden(batch)
    table, dim = model.tables()["text"], 8
    for place, i in enumerate(ids.tolist()):
        angles = [place / 10000 ** (2 * j / dim) for j in range(dim // 2)]
        want = table[i] * dim**0.5 + torch.tensor([*map(math.sin, angles), *map(math.cos, angles)])
        assert torch.allclose(seen[0][place], want, atol=1e-6)


def test_one_table_serves_both_streams_and_the_head() -> None:
    model = paper()
    assert {n for n, _ in model.named_parameters() if not n.startswith("streams.")} == {
        "channels.text.0.weight",
        "channels.control.0.weight",
    }


def test_the_transformer_is_cached_as_it_is_computed() -> None:
    model, sources = paper(), [torch.tensor([3, 1, 4]), torch.tensor([2, 7, 1, 8])]
    parts = [[line(torch.tensor(x)) for x in row] for row in ([[1, 5], [9], [2]], [[6], [5, 3, 5]])]
    cached_equals_full(model, parts, memory={"encoder": list(map(line, sources))})
