"""Law: a folder that timm saved becomes a run that computes the same, and timm makes the same model from an exported run."""

from pathlib import Path

import pytest
import torch

from omnitok import presets
from omnitok.errors import ConfigError
from omnitok.hub import export_run, import_run
from omnitok.model import CONTROL
from omnitok.plugins import load_plugins
from omnitok.run import load_run
from omnitok.tokenizer import Channel
from tests.laws.parity.case import FP32, distance, library, quiet
from tests.laws.parity.test_files import as_the_case
from tests.laws.parity.vision import averaged, behind_a_class_token, vision_model

pytestmark = pytest.mark.slow
ARCHITECTURES = {
    "vit": ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}),
    "mixer": ("mixer_s16_224", {"img_size": 32, "mlp_ratio": (0.25, 1.0)}),
}


@pytest.mark.parametrize("preset", ARCHITECTURES)
def test_folders_of_timm_come_in_and_go_out(preset: str, tmp_path: Path) -> None:
    timm = library("timm")
    name, fields = ARCHITECTURES[preset]
    size, document = (8, behind_a_class_token) if preset == "vit" else (16, averaged)
    shape = presets.get(preset)()  # another one, until the run says which
    case = vision_model(lambda: timm.create_model(name, num_classes=7, **fields), shape, size, 32, document)
    with quiet():
        timm.models.save_for_hf(case.reference, tmp_path / "theirs", safe_serialization=True)
    import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=[]), preset)
    run = load_run(tmp_path / "run")
    (channel,) = (x for c, x in run.model.channel_info.items() if c != CONTROL)
    assert (channel.mean, channel.std) == (127.5, 127.5), "timm's one half, of 8-bit pixels"
    assert distance(case.got(as_the_case(case, run)), case.want()) <= FP32

    export_run(run, tmp_path / "ours", layout="timm")
    with quiet():
        again = timm.create_model(f"local-dir:{tmp_path / 'ours'}", pretrained=True).state_dict()
    state = case.reference.state_dict()
    assert again.keys() == state.keys()
    assert [k for k in state if not torch.equal(again[k], state[k])] == []


def test_shapes_that_timm_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match="knows no timm architecture 'resnet50'"):
        presets.vit.from_config({"architecture": "resnet50"})
    with pytest.raises(ConfigError, match="knows no timm architecture 'mixer_b16_224'"):
        presets.vit.from_config({"architecture": "mixer_b16_224"})
    with pytest.raises(ConfigError, match="global_pool = 'avg' is not supported"):
        presets.vit.from_config({"architecture": "vit_base_patch16_224", "model_args": {"global_pool": "avg"}})
    channel = {"patches": Channel(width=(48,))}
    with pytest.raises(ConfigError, match="timm has no MLP-Mixer of dim 24, depth 12"):
        presets.mixer(dim=24, patch=(3, 4, 4)).to_config(channel)
    with pytest.raises(ConfigError, match="12 do not form one"):
        presets.vit(patch=(3, 4, 4), patches=12).to_config(channel)
    assert "architecture" not in presets.vit(eps=1e-12).to_config(channel), "timm's files cannot say this epsilon"
