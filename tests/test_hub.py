"""Published models in and out: every file that is damaged, missing, of another size or unsafe is refused by name."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import collate
from omnitok.cli import run as omnitok
from omnitok.errors import CheckpointError, ConfigError
from omnitok.generate import generate
from omnitok.hub import export_run, files, import_run
from omnitok.hub.tokenizers import serve
from omnitok.model import Transformer
from omnitok.plugins import Host, load_plugins
from omnitok.recipe import make_recipe
from omnitok.run import Run, load_run
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.train import train
from omnitok.weights import export_weights

WORDS = ["the quick brown fox jumps over the lazy dog", "a fox is quick"]
SMALL = {"dim": 16, "depth": 2, "heads": 2, "positions": 40}
BARE: list[str] = []
"""no plugins"""


def tokenizer_json(folder: Path, special: tuple[str, ...] = ("<|endoftext|>",), size: int = 280) -> int:
    """A byte-level tokenizer.json as people publish them; its number of ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        WORDS,
        trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False),
    )
    bpe.save(str(folder / "tokenizer.json"))
    return int(bpe.get_vocab_size())


def publish(folder: Path, more: dict[str, Any] | None = None, padded: int = 0, special: tuple[str, ...] = ("<|endoftext|>",)):
    """A GPT-2 with its tokenizer.json, as a model hub holds it; the model is given back."""
    folder.mkdir(exist_ok=True)
    vocab = tokenizer_json(folder, special) + padded
    torch.manual_seed(0)
    model = build(presets.gpt2(**SMALL), {"text": Channel(vocab=vocab)}, {"text": ()}).eval()
    config = model.preset.to_config({"tokens": Channel(vocab=vocab, end=0 if special else None)})
    (folder / "config.json").write_text(json.dumps(config | (more or {})))
    safetensors.torch.save_file(export_weights(model), folder / "model.safetensors", {"format": "pt"})
    return model


@pytest.fixture(scope="module")
def host() -> Host:
    return load_plugins(only=["text", "image"])


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "gpt2"
    publish(folder)
    return folder


@pytest.fixture(scope="module")
def run(gpt2: Path, host: Host, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "gpt2"
    import_run(gpt2, out, host)
    return load_run(out)


def logits(model: Transformer, tokens: TokenSequence) -> torch.Tensor:
    from omnitok.batch import Document

    with torch.no_grad():
        hidden = model.hidden(collate([Document({"main": tokens})], model.schema))["main"]
        return model.head("main:tokens")(hidden, _context(model))


def _context(model: Transformer) -> Any:
    from omnitok.nn.context import Context

    return Context(tables=model.tables())


# -- a whole model with its tokenizer


def test_an_imported_model_is_a_run(run: Run, gpt2: Path) -> None:
    published = safetensors.torch.load_file(gpt2 / "model.safetensors")
    assert all(torch.equal(v, published[k]) for k, v in export_weights(run.model).items())
    text = run.tokenizer("text")
    prompt = text.encode(WORDS[0])
    made = run.generate(prompt, "text", 5)
    again = generate(run.session().feed(prompt), text, "text", 5)
    assert torch.equal(made.spans[0].ids, again.spans[0].ids)
    assert isinstance(text.decode(prompt + made), str)
    assert text.channels()["text"].end == 0, "eos_token_id of config.json"
    assert [t.name for t in run.recipe.tasks] == ["next"]


def test_a_table_with_more_rows_than_the_tokenizer_has_ids(tmp_path: Path, host: Host) -> None:
    publish(tmp_path / "hub", padded=7)
    import_run(tmp_path / "hub", tmp_path / "run", host)
    channel = load_run(tmp_path / "run").tokenizer("text").channels()["text"]
    assert channel.vocab == 287 and channel.end == 0


def test_without_an_end_token_no_id_is_made_up(tmp_path: Path, host: Host) -> None:
    publish(tmp_path / "hub", special=())
    import_run(tmp_path / "hub", tmp_path / "run", host)
    assert load_run(tmp_path / "run").tokenizer("text").channels()["text"].end is None


def test_a_value_of_another_type_in_the_configuration_is_refused_by_its_field(tmp_path: Path, host: Host) -> None:
    publish(tmp_path / "hub", {"n_layer": "two"})
    with pytest.raises(ConfigError, match="depth"):
        import_run(tmp_path / "hub", tmp_path / "run", host)


def test_what_no_tokenizer_reads_is_told_with_each_of_their_reasons(tmp_path: Path, host: Host) -> None:
    """A tokenizer that fits another role does not hide why the one of this role refuses."""
    config = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    shape, channels = presets.get("vit").from_config(config)
    publish(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_center_crop": True, "size": {"shortest_edge": 8}}))
    (line,) = serve(tmp_path, shape, channels, {}, host).lines
    assert "only a square of the shortest edge" in line and "ids below" in line


def test_without_a_tokenizer_the_channel_comes_from_the_configuration(tmp_path: Path, host: Host) -> None:
    publish(tmp_path / "hub")
    (tmp_path / "hub" / "tokenizer.json").unlink()
    done = import_run(tmp_path / "hub", tmp_path / "run", host)
    assert any("no tokenizer" in line and "tokenizer.json" in line for line in done.lines)
    bare = load_run(tmp_path / "run")
    assert bare.recipe.roles == {"tokens": "tokens"} and bare.tasks.channels["tokens"].vocab == 280
    answer = bare.session().feed(TokenSequence((Span("tokens", torch.tensor([1, 2])),))).ask("main:tokens")
    assert answer.shape == (1, 280)
    export_run(bare, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"config.json", "model.safetensors"}


def test_a_tokenizer_is_asked_for_by_role(tmp_path: Path, gpt2: Path, host: Host) -> None:
    import_run(gpt2, tmp_path / "run", host, tokenizers={"tokens": "text"})
    for asked, message in (
        ({"token": "text"}, "did you mean 'tokens'"),
        ({"tokens": "image"}, "'image' reads nothing in"),
        ({"tokens": "txt"}, "did you mean 'text'"),
    ):
        with pytest.raises(ConfigError, match=message):
            import_run(gpt2, tmp_path / "other", host, tokenizers=asked)
    assert not (tmp_path / "other").exists()


def test_a_tokenizer_of_another_size_is_not_taken(tmp_path: Path, host: Host) -> None:
    publish(tmp_path / "hub")
    tokenizer_json(tmp_path / "hub", size=283)
    done = import_run(tmp_path / "hub", tmp_path / "run", host)
    assert any("'text' makes ids below 283, and the model reads ids below 280" in line for line in done.lines)
    assert load_run(tmp_path / "run").tokenizers == {}
    with pytest.raises(ConfigError, match=r"--tokenizer tokens=text: .*below 283"):
        import_run(tmp_path / "hub", tmp_path / "other", host, tokenizers={"tokens": "text"})


def test_a_picture_model_takes_its_preprocessing(tmp_path: Path, host: Host) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    model = build(
        presets.vit(dim=16, depth=1, heads=2, patch=(3, 8, 8), patches=16, classes=5), {"image": Channel(width=(192,))}
    ).eval()
    config = model.preset.to_config({"patches": model.channel_info["image"]})
    (folder / "config.json").write_text(json.dumps(config))
    constants = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.2], "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(constants | {"resample": 3}))
    layout = next(iter(model.preset.maps({"patches": model.channel_info["image"]})))
    safetensors.torch.save_file(export_weights(model, layout=layout), folder / "model.safetensors", {"format": "pt"})
    import_run(folder, tmp_path / "run", host)
    run = load_run(tmp_path / "run")
    image = run.tokenizer("image")
    assert image.size == (32, 32) and image.resample == "bicubic" and image.patch_size == 8
    pixels = Image.new("RGB", (50, 40), (102, 127, 153))
    normal = run.tasks.channels["image"].normal(image.encode(pixels).spans[0].features)
    want = (torch.tensor([102, 127, 153]) / 255 - torch.tensor([0.4, 0.5, 0.6])) / torch.tensor([0.2, 0.3, 0.2])
    assert torch.allclose(normal.view(-1, 3, 64), want[:, None].expand(3, 64), atol=1e-5)
    lines = export_run(run, tmp_path / "out")
    assert any("preprocessor_config.json" in line for line in lines)
    assert type(image).from_pretrained(tmp_path / "out").channels() == type(image).from_pretrained(folder).channels()


# -- other shapes of files


def shards(folder: Path, parts: int = 3) -> dict[str, list[str]]:
    """model.safetensors cut into parts, with their index; part -> its keys."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    keys = sorted(weights)
    held = {f"model-{i + 1:05d}-of-{parts:05d}.safetensors": keys[i::parts] for i in range(parts)}
    for name, own in held.items():
        safetensors.torch.save_file({k: weights[k] for k in own}, folder / name, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: name for name, own in held.items() for k in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    return held


def test_parts_are_read_as_the_whole(tmp_path: Path, run: Run, host: Host) -> None:
    publish(tmp_path / "hub")
    shards(tmp_path / "hub")
    model = import_run(tmp_path / "hub", tmp_path / "run", host).model
    assert all(torch.equal(v, run.model.state_dict()[k]) for k, v in model.state_dict().items() if k.startswith("streams."))


def test_one_file_with_its_fields_given(tmp_path: Path, gpt2: Path, run: Run) -> None:
    sets = [f"--set={k}={v}" for k, v in SMALL.items()]
    words = ["import", str(gpt2 / "model.safetensors"), "--preset", "gpt2", *sets, "--set", "tokens.vocab=280"]
    assert omnitok([*words, "-o", str(tmp_path / "run")]) == 0
    assert load_run(tmp_path / "run").recipe.preset() == run.recipe.preset().replace(dropout=0.1)


def test_old_names_and_the_model_without_its_prefix(tmp_path: Path, gpt2: Path, run: Run, host: Host) -> None:
    """As the files of the published GPT-2 are: no outer name, no head, masks beside the weights."""
    publish(tmp_path / "hub")
    weights = safetensors.torch.load_file(gpt2 / "model.safetensors")
    weights = {k.removeprefix("transformer."): v for k, v in weights.items() if k != "lm_head.weight"}
    weights |= {f"h.{i}.attn.bias": torch.ones(1, 1, 40, 40) for i in range(2)}
    renamed = {k.replace("ln_1.weight", "ln_1.gamma").replace("ln_1.bias", "ln_1.beta"): v for k, v in weights.items()}
    for number, state in enumerate((weights, renamed)):
        safetensors.torch.save_file(state, tmp_path / "hub" / "model.safetensors")
        out = tmp_path / f"run{number}"
        model = import_run(tmp_path / "hub", out, host, leave_out=["*.attn.bias"]).model
        assert all(torch.equal(v, run.model.state_dict()[k]) for k, v in model.state_dict().items() if k.startswith("streams."))


def test_half_precision_is_widened_and_said(tmp_path: Path, host: Host) -> None:
    publish(tmp_path / "hub")
    file = tmp_path / "hub" / "model.safetensors"
    weights = {k: v.bfloat16() for k, v in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file(weights, file)
    done = import_run(tmp_path / "hub", tmp_path / "run", host)
    assert "from bfloat16 to float32" in done.lines[0]
    assert all(torch.equal(v.bfloat16(), weights[k]) for k, v in export_weights(done.model).items())


# -- what is refused; nothing is written then


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def missing_part(folder: Path) -> None:
    name = list(shards(folder))[1]
    (folder / name).unlink()


def cut_part(folder: Path) -> None:
    name = list(shards(folder))[2]
    (folder / name).write_bytes((folder / name).read_bytes()[:-8])


def outside(folder: Path) -> None:
    shards(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001", "../model-00001"))


def foreign_part(folder: Path) -> None:
    held = shards(folder)
    first, second = list(held)[:2]
    (folder / second).write_bytes((folder / first).read_bytes())


def no_map(folder: Path) -> None:
    shards(folder)
    (folder / "model.safetensors.index.json").write_text("{}")


def config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "config.json"
        plain = json.loads(file.read_text()) | changes
        file.write_text(json.dumps({k: v for k, v in plain.items() if v is not ...}))

    return edit


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def listed_config(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")


def weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        state = safetensors.torch.load_file(folder / "model.safetensors")
        change(state)
        safetensors.torch.save_file(state, folder / "model.safetensors")

    return edit


REFUSED = {
    "cut file": (cut, r"model\.safetensors: damaged or cut short"),
    "header over the limit": (header, r"model\.safetensors: damaged or cut short"),
    "pickle": (pickled, r"pytorch_model\.bin.*can run code.*GPT2LMHeadModel as M; M\.from_pretrained.*safe_serialization=True"),
    "no weights": (no_weights, r"has no model\.safetensors and no model\.safetensors\.index\.json"),
    "missing part": (missing_part, r"model-00002-of-00003\.safetensors: is missing"),
    "cut part": (cut_part, r"model-00003-of-00003\.safetensors: damaged or cut short"),
    "part outside": (outside, r"names the part '\.\./model-00001.*no \.safetensors file of this folder"),
    "part swapped": (foreign_part, r"model-00002-of-00003\.safetensors: holds .*places in 'model-00001"),
    "index without map": (no_map, "has no weight_map"),
    "no configuration": (no_config, r"there is no config\.json: say which preset it is with --preset"),
    "broken configuration": (broken_config, r"config\.json: not valid JSON"),
    "listed configuration": (listed_config, r"config\.json: holds a list"),
    "no model type": (config(model_type=...), "names no model_type"),
    "unknown model type": (config(model_type="gpt-2"), "unknown model_type 'gpt-2'; did you mean 'gpt2'"),
    "missing setting": (config(n_embd=...), "n_embd"),
    "other width": (config(n_embd=32), r"is \[280, 32\] in this model and \[280, 16\] in the state dict"),
    "other depth": (config(n_layer=3), r"the state dict lacks 'transformer\.h\.2"),
    "other vocabulary": (config(vocab_size=281), r"is \[281, 16\] in this model"),
    "heads that do not divide": (config(n_head=3), "heads"),
    "unknown tensor": (weights(lambda s: s.update(extra=torch.zeros(1))), "reads no 'extra'.*leave_out"),
    "missing tensor": (weights(lambda s: s.pop("transformer.h.1.ln_2.bias")), r"lacks 'transformer\.h\.1\.ln_2\.bias'"),
    "wrong shape": (weights(lambda s: s.update({"transformer.ln_f.bias": torch.zeros(3)})), r"is \[16\] in this model and \[3\]"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_named_and_nothing_is_written(what: str, tmp_path: Path, host: Host) -> None:
    edit, message = REFUSED[what]
    publish(tmp_path / "hub")
    edit(tmp_path / "hub")
    with pytest.raises((CheckpointError, ConfigError), match=message):
        import_run(tmp_path / "hub", tmp_path / "run", host)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".npz", ".pkl"])
def test_a_file_that_can_run_code_is_never_opened(suffix: str, tmp_path: Path, host: Host) -> None:
    (tmp_path / f"weights{suffix}").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=r"can run code.*AutoModel as M"):
        import_run(tmp_path / f"weights{suffix}", tmp_path / "run", host, preset="gpt2")


def test_presets_and_folders_that_do_not_fit(tmp_path: Path, gpt2: Path, run: Run, host: Host) -> None:
    with pytest.raises(ConfigError, match="'decoder' follows no published model"):
        import_run(gpt2, tmp_path / "run", host, preset="decoder")
    with pytest.raises(ConfigError, match="did you mean 'gpt2'"):
        import_run(gpt2, tmp_path / "run", host, preset="gpt-2")
    with pytest.raises(ConfigError, match=r"unknown field .*n_embd"):
        import_run(gpt2, tmp_path / "run", host, sets={"n_embd": 3})
    with pytest.raises(ConfigError, match="exists already"):
        import_run(gpt2, run.folder, host)
    with pytest.raises(ConfigError, match="exists already"):
        export_run(run, run.folder)
    with pytest.raises(ConfigError, match="unknown layout 'timm'"):
        export_run(run, tmp_path / "out", layout="timm")
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


# -- hub ids


def test_a_hub_id_is_fetched(gpt2: Path, tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra `hub`", exc_type=ImportError)
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **_: asked.append(name) or str(gpt2))
    monkeypatch.chdir(tmp_path)
    import_run("somebody/gpt2", tmp_path / "run", host)
    assert asked == ["somebody/gpt2"]

    def offline(name: str, **_: Any) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"somebody/gpt2: .*not fetched as a hub id \(no route to host\)"):
        import_run("somebody/gpt2", tmp_path / "other", host)


def test_without_the_extra_a_hub_id_says_what_to_install(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"omnitok\[hub\]"):
        import_run("somebody/gpt2", tmp_path / "run", host)
    for path in ("/no/such/folder", "./none", "a/b/c", "../up", "with space"):
        with pytest.raises(CheckpointError, match=r"no such file or folder$"):
            files.read_published(path)


@pytest.mark.net
def test_gpt2_from_the_hub(tmp_path: Path, host: Host) -> None:
    import_run("openai-community/gpt2", tmp_path / "run", host)
    run = load_run(tmp_path / "run")
    text = run.tokenizer("text")
    made = run.generate(text.encode("The capital of France is"), "text", 8)
    assert "Paris" in text.decode(made) or "France" in text.decode(made)


# -- open models: another kind of data beside the old one

PLUGIN = '''
"""Rows of four numbers, and data that has them beside words."""
import torch
from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Tokenizer

class Waves(Tokenizer, frozen=True):
    """Rows of four numbers."""
    name = "waves"
    round_trip = Exact()
    def channels(self):
        return {self.channel(): Channel(width=(4,))}
    def encode(self, raw):
        return TokenSequence((Span(self.channel(), features=torch.as_tensor(raw, dtype=torch.float32)),))
    def samples(self, seed=0):
        return [torch.zeros(3, 4)]

class Named(Dataset, frozen=True):
    """Waves with the word for their height."""
    name = "waves/named"
    licence = source = "made here"
    def split(self, name):
        return [{"name": ("quick", "lazy")[i % 2], "wave": torch.full((3, 4), 4.0 * (i % 2) - 2)} for i in range(40)]

@hookimpl
def register_tokenizers():
    return [Waves]

@hookimpl
def register_datasets():
    return [Named]
'''

RECIPE = {
    "tasks": [
        {
            "name": "draw",
            "data": {"name": "waves/named"},
            "document": [{"text": "name"}, {"waves": "wave"}],
            "objective": {"next": {"on": "waves"}},
        }
    ],
    "train": {"steps": 30, "budget": 128, "warmup": 1, "lr": 0.02, "device": "cpu", "eval_samples": 20},
}


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "waves.py"
    path.write_text(PLUGIN)
    return path


def test_an_imported_model_gets_another_kind_of_data(run: Run, gpt2: Path, waves: Path, tmp_path: Path) -> None:
    host, tokens = load_plugins(only=["text"], files=[waves]), run.tokenizer("text").encode(WORDS[1])
    start = make_recipe(RECIPE | {"train": RECIPE["train"] | {"steps": 0}})
    before = train(start, tmp_path / "start", host, quiet=True, start=run).report
    opened = load_run(tmp_path / "start", [waves])
    assert {"text", "waves"} <= opened.model.channel_info.keys() and opened.recipe.preset_name == "gpt2"
    assert opened.tokenizers["text"] == run.tokenizers["text"]
    assert torch.equal(logits(opened.model, tokens), logits(run.model, tokens)), "the old channel is as it was, bit for bit"

    after = train(make_recipe(RECIPE), tmp_path / "further", host, quiet=True, start=run).report
    assert after["draw"]["mse"] < 0.5 * before["draw"]["mse"], "the new channel learns"
    further = load_run(tmp_path / "further", [waves])
    with pytest.raises(CheckpointError, match=r"no place for 'channels\.waves.*heads\.waves.*leave_out"):
        export_run(further, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_run(further, tmp_path / "out", leave_out=["waves"])
    back = import_run(tmp_path / "out", tmp_path / "back", load_plugins(only=["text"])).model
    assert torch.equal(logits(back, tokens), logits(further.model, tokens))


def test_what_a_run_takes_from_another(run: Run, waves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = load_plugins(only=["text"], files=[waves])
    short = RECIPE | {"train": RECIPE["train"] | {"steps": 1}}
    train(make_recipe(short), tmp_path / "a", host, start=run)
    said = capsys.readouterr().err
    assert "tensors from" in said and "fresh: channels.waves, heads.waves" in said
    with pytest.raises(ConfigError, match="choose one of them"):
        train(make_recipe(short), tmp_path / "a", host, resume=True, start=run)
    other = short | {"tokenizers": {"text": {"vocab_size": 300}}}
    with pytest.raises(ConfigError, match=r"'text' is configured otherwise .*\(vocab_size\)"):
        train(make_recipe(other), tmp_path / "b", host, start=run)
    narrow = short | {"model": {"preset": "gpt2", "dim": 32}}
    with pytest.raises(CheckpointError, match=r"is \[.*32\] in this model and \[.*16\]"):
        train(make_recipe(narrow), tmp_path / "c", host, start=run)
    with pytest.raises(CheckpointError, match=r"no weight of .* has a place in this model"):
        train(make_recipe(short | {"model": {"preset": "lstm", "dim": 16}}), tmp_path / "d", host, start=run)
    with pytest.raises(CheckpointError, match="was imported, not trained: start from it with --from"):
        train(run.recipe.replace(tasks=make_recipe(short).tasks), run.folder, host, resume=True)


# -- commands


def test_commands(gpt2: Path, waves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    assert omnitok(["import", str(gpt2), "-o", folder]) == 0
    assert "tokens: tokenizer 'text'" in capsys.readouterr().out
    assert omnitok(["generate", folder, "--prompt", "the quick", "--max-tokens", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["ids"]) == 3
    data = tmp_path / "data"
    data.mkdir()
    for i in range(4):
        (data / f"{i}.txt").write_text(WORDS[i % 2])
    words = ["train", f"{folder}/recipe.toml", "--from", folder, "--out", str(tmp_path / "more")]
    small = ["--set", "train.steps=2", "--set", f'tasks.next.data.folder="{data}"', "--set", "train.budget=64"]
    assert omnitok([*words, *small]) == 0
    assert omnitok(["export", str(tmp_path / "more"), "-o", str(tmp_path / "out")]) == 0
    assert "config.json: gpt2" in capsys.readouterr().out
    assert omnitok(["import", str(tmp_path / "nothing here"), "-o", folder]) == 2
    assert omnitok(["import", str(gpt2), "-o", str(tmp_path / "x"), "--tokenizer", "text"]) == 2
    assert "expected ROLE=PLUGIN" in capsys.readouterr().err


def test_the_recipe_of_the_readme(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures for an imported GPT-2, with the README's recipe and commands."""
    blocks = re.findall(r"```toml\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)
    recipe = next(b for b in blocks if 'name = "caption"' in b)
    monkeypatch.chdir(tmp_path)
    Path("caption.toml").write_text(recipe)
    Path("photos").mkdir()
    for i in range(4):
        Image.new("RGB", (32, 16), (60 * i, 0, 90)).save(f"photos/{WORDS[1]} {i}.png")
    small = ["--set", "train.steps=1", "--set", "train.budget=64", "--set", "train.device=cpu"]
    assert omnitok(["train", "caption.toml", "--from", str(run.folder), "--out", "caption", *small]) == 0
    assert omnitok(["export", "caption", "-o", "captioner"]) == 2 and not Path("captioner").exists()
    assert omnitok(["export", "caption", "-o", "captioner/", "--leave-out", "image"]) == 0
    assert {p.name for p in Path("captioner").iterdir()} > {"config.json", "model.safetensors", "tokenizer.json"}
    untouched = ["--set", "train.steps=0", "--set", "train.budget=64", "--set", "train.device=cpu"]
    assert omnitok(["train", "caption.toml", "--from", str(run.folder), "--out", "untouched", *untouched]) == 0
    tokens = run.tokenizer("text").encode(WORDS[0])
    assert torch.equal(logits(load_run("untouched").model, tokens), logits(run.model, tokens))
