"""Law: the files of a reference's own `save_pretrained` become a run that computes the same, and an exported run is read
by the reference's own `from_pretrained`, bit for bit.
"""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch

from omnitok.hub import export_run, import_run
from omnitok.model import Transformer
from omnitok.plugins import load_plugins
from omnitok.run import Run, load_run
from omnitok.weights import Reference
from tests.laws.parity.case import CASES, FP64, Case, distance, library, load_families, quiet, randomise

pytestmark = pytest.mark.slow
load_families()

ROUNDING = 1e-6
"""of one library's own float32, which depends on where its tensors lie in memory"""


def readable(name: str) -> Case:
    """The case, where its reference keeps files that the preset reads and writes; else the test is skipped, and says why."""
    torch.manual_seed(0)
    case = CASES[name]()
    preset = type(case.preset)
    if not hasattr(case.reference, "save_pretrained"):
        pytest.skip(f"{type(case.reference).__name__} has no from_pretrained")
    if preset.from_config.__func__ is Reference.from_config.__func__ or preset.to_config is Reference.to_config:
        pytest.skip(f"preset {preset.name!r} reads or writes no published configuration")
    return case


@pytest.mark.parametrize("name", CASES)
def test_files_come_in_and_go_out(name: str, tmp_path: Path) -> None:
    case = readable(name)
    reference = case.reference.float()
    with quiet():
        reference.save_pretrained(tmp_path / "theirs")
    covered = case.state(reference)
    rest = [k for k in reference.state_dict() if k not in covered]
    imported = import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=[]), leave_out=rest)
    assert imported.model.preset.name == case.preset.name, "config.json says what it is"
    run = load_run(tmp_path / "run")
    assert all(torch.equal(v, imported.model.state_dict()[k]) for k, v in run.model.state_dict().items())
    assert distance(case.got(as_the_case(case, run).double()), case.want(torch.float64)) <= FP64

    export_run(run, tmp_path / "ours")
    with quiet():
        how = reference.config._attn_implementation
        again = type(reference).from_pretrained(tmp_path / "ours", attn_implementation=how).eval()
    theirs, ours = reference.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    read = [k for k in covered if k not in rest and not any(fnmatchcase(k, p) for p in case.unread)]
    assert [k for k in read if not torch.equal(ours[k], theirs[k])] == []
    if not rest:
        want, case.reference = case.want(), again
        assert distance(case.want(), want) <= ROUNDING


@pytest.mark.parametrize(("architecture", "preset"), [("vit_tiny_patch16_224", "vit"), ("mixer_s32_224", "mixer")])
def test_timm_reads_and_writes_them_too(architecture: str, preset: str, tmp_path: Path) -> None:
    timm = library("timm")
    with quiet():
        reference = randomise(timm.create_model(architecture, num_classes=7))
        timm.models.save_for_hf(reference, tmp_path / "theirs", safe_serialization=True)
    imported = import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=[]))
    assert imported.model.preset.name == preset
    export_run(load_run(tmp_path / "run"), tmp_path / "ours", layout="timm")
    with quiet():
        again = timm.create_model(f"local-dir:{tmp_path / 'ours'}", pretrained=True)
    assert again.state_dict().keys() == reference.state_dict().keys()
    assert [k for k, v in reference.state_dict().items() if not torch.equal(v, again.state_dict()[k])] == []


def as_the_case(case: Case, run: Run) -> Transformer:
    """The run's model over the case's channels, which have the case's names, means and axes."""
    model = case.build(run.recipe.preset())
    own = {role: case.channels.get(channel) for role, channel in model.roles.items()}
    for role, channel in run.model.roles.items():
        read, made = run.model.channel_info[channel], own[role]
        assert made is None or (read.vocab, read.size) == (made.vocab, made.size), role
    streams = {k: v for k, v in run.model.state_dict().items() if k.startswith("streams.")}
    assert streams.keys() == {k for k in model.state_dict() if k.startswith("streams.")}
    model.load_state_dict(streams, strict=False)
    return model


def spelled(folder: Path, special: list[str]) -> int:
    """A tokenizer.json of single characters behind special tokens; its number of ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=0, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([], trainer)
    folder.mkdir(exist_ok=True)
    bpe.save(str(folder / "tokenizer.json"))
    return int(bpe.get_vocab_size())


def test_an_imported_gpt2_says_what_the_reference_says(tmp_path: Path) -> None:
    hf, end = library("transformers"), "<|endoftext|>"
    vocab = spelled(tmp_path / "theirs", [end])
    sizes = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
    with quiet():
        reference = randomise(hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=vocab, **sizes)))
        reference.save_pretrained(tmp_path / "theirs")
    import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=["text"]))
    run = load_run(tmp_path / "run")
    prompt = run.tokenizer("text").encode("a prompt")
    made = run.generate(prompt, "text", 20)
    with quiet():
        want = reference.generate(prompt.spans[0].ids[None], max_new_tokens=20, do_sample=False, pad_token_id=0)
    ids = want[0, len(prompt) :].tolist()
    assert made.spans[0].ids.tolist() == (ids[: ids.index(0)] if 0 in ids else ids)


def test_an_imported_t5_says_what_the_reference_says(tmp_path: Path) -> None:
    hf, special = library("transformers"), ["<pad>", "</s>", *(f"<extra_id_{i}>" for i in range(5))]
    vocab = spelled(tmp_path / "theirs", special)
    sizes = {"d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2, "num_heads": 4}
    with quiet():
        config = hf.T5Config(vocab_size=vocab + 9, **sizes, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0)
        reference = randomise(hf.T5ForConditionalGeneration(config))
        reference.save_pretrained(tmp_path / "theirs")
    import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=["text"]))
    run = load_run(tmp_path / "run")
    assert [t.name for t in run.recipe.tasks] == ["corrupt"]
    question = run.tokenizer("text").encode("a question")
    made = run.generate(question, "text", 12)
    with quiet():
        want = reference.generate(question.spans[0].ids[None], max_new_tokens=12, do_sample=False)
    ids = want[0, 1:].tolist()
    assert made.spans[0].ids.tolist() == (ids[: ids.index(1)] if 1 in ids else ids)
