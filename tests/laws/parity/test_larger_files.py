"""Law: of a published file that holds more than the preset, the rest is named, and left out where one says so."""

from pathlib import Path

import pytest
import torch

from omnitok.batch import collate
from omnitok.errors import CheckpointError
from omnitok.hub import import_run
from omnitok.plugins import load_plugins
from omnitok.run import load_run
from omnitok.sequence import Span, TokenSequence
from tests.laws.parity.case import DEPTH, DIM, FP64, HEADS, HIDDEN, VOCAB, distance, ids, library, quiet, randomise
from tests.laws.parity.masked import SIZE
from tests.laws.parity.sound import KERNEL, encoded, sound_model
from tests.laws.parity.test_files import as_the_case

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["relative", None])
def test_the_encoder_of_a_published_model_comes_in(kind: str | None, tmp_path: Path) -> None:
    hf = library("transformers")
    config = hf.Wav2Vec2ConformerConfig(
        hidden_size=DIM,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        conv_depthwise_kernel_size=KERNEL,
        hidden_act="swish",
        num_conv_pos_embedding_groups=4,
        position_embeddings_type=kind,
        vocab_size=9,
    )
    with quiet():
        whole = randomise(hf.Wav2Vec2ConformerForCTC(config))
    encoder = whole.wav2vec2_conformer.encoder
    with quiet():
        whole.save_pretrained(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match=r"the weight map reads no 'lm_head\.bias'.*`leave_out`"):
        import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=[]))
    outside = ["*.feature_extractor.*", "*.feature_projection.*", "*.masked_spec_embed", "lm_head.*"]
    import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=[]), leave_out=outside)
    run = load_run(tmp_path / "run")
    case = sound_model(lambda: encoder, run.recipe.preset(), encoded)
    case.reference.load_state_dict(theirs(tmp_path / "theirs"))  # a case randomises what it is given
    assert distance(case.got(as_the_case(case, run).double()), case.want(torch.float64)) <= FP64


BERTS = {
    "BertForPreTraining": (("bert.pooler.*", "cls.seq_relationship.*"), "bert.pooler.dense.bias", True),
    "BertForSequenceClassification": (("bert.pooler.*", "classifier.*"), "bert.pooler.dense.bias", False),
    "BertForMaskedLM": ((), None, True),
    "BertModel": (("pooler.*",), "pooler.dense.bias", False),
}


@pytest.mark.parametrize("name", BERTS)
def test_every_kind_of_bert_comes_in(name: str, tmp_path: Path) -> None:
    outside, first, masked = BERTS[name]
    hf = library("transformers")
    with quiet():
        reference = randomise(getattr(hf, name)(hf.BertConfig(**SIZE, vocab_size=VOCAB)))
        reference.save_pretrained(tmp_path / "theirs")
    if first is not None:
        with pytest.raises(CheckpointError, match=f"the weight map reads no .*{first}.*`leave_out`"):
            import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=[]))
    imported = import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=[]), leave_out=outside)
    preset = imported.model.preset
    assert preset.masked is masked
    raw, (channel,) = ids(7, 0), imported.model.roles.values()
    batch = collate([TokenSequence((Span(channel, raw),))], imported.model.schema)
    with torch.no_grad():
        got, want = imported.model.eval().hidden(batch)["main"], reference.base_model(raw[None]).last_hidden_state[0]
    assert distance({"main": got}, {"main": want}) <= 1e-5


def theirs(folder: Path) -> dict[str, torch.Tensor]:
    """The encoder's tensors as they lie in the file."""
    from safetensors.torch import load_file

    prefix = "wav2vec2_conformer.encoder."
    return {k.removeprefix(prefix): v for k, v in load_file(folder / "model.safetensors").items() if k.startswith(prefix)}
