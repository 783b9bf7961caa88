"""Checkpoints survive kill -9 and full disks, and no altered byte passes."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from omnitok import checkpoint, rng
from omnitok.errors import CheckpointError

FILES = ("model.safetensors", "optimizer.safetensors", "tokenizers/words.state", "manifest.json")


def save(run: Path, step: int, keep: int = 2) -> Path:
    tensors = {
        "model.safetensors": {"weight": torch.full((20, 3), float(step))},
        "optimizer.safetensors": {"exp_avg:weight": torch.ones(20, 3)},
    }
    return checkpoint.save(run, step, tensors, {"tokenizers/words.state": b"state"}, {"recipe": {"name": "x"}}, keep)


def test_what_is_saved_comes_back(tmp_path):
    folder = save(tmp_path, 7)
    loaded = checkpoint.load(folder)
    assert loaded.step == 7
    assert torch.equal(loaded.tensors("model.safetensors")["weight"], torch.full((20, 3), 7.0))
    assert loaded.files["tokenizers/words.state"] == b"state"
    assert loaded.manifest["recipe"] == {"name": "x"}
    assert set(loaded.files) | {"manifest.json"} == set(FILES)


def test_only_the_newest_are_kept_and_remains_are_removed(tmp_path):
    (tmp_path / "checkpoints" / "step-000001.tmp").mkdir(parents=True)
    for step in (10, 20, 30):
        save(tmp_path, step, keep=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-000020", "step-000030"]
    assert checkpoint.latest(tmp_path).name == "step-000030"


def test_a_folder_without_manifest_is_no_checkpoint(tmp_path):
    save(tmp_path, 10)
    (save(tmp_path, 20) / "manifest.json").unlink()
    assert checkpoint.latest(tmp_path).name == "step-000010"


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_found_by_name(tmp_path, name):
    save(tmp_path, 10)
    path = save(tmp_path, 20) / name
    good = path.read_bytes()
    pick = random.Random(name)
    for bit in pick.sample(range(8 * len(good)), 40):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match=rf"{path.name}.*continue from step-000010"):
            checkpoint.load(path.parent.parent if "/" in name else path.parent)
    path.write_bytes(good)
    assert checkpoint.load(tmp_path / "checkpoints" / "step-000020").step == 20


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["missing", "cut", "empty", "swapped"])
def test_missing_cut_and_swapped_files_are_refused(tmp_path, name, harm):
    older, folder = save(tmp_path, 10), save(tmp_path, 20)
    path = folder / name
    if harm == "missing":
        path.unlink()
    elif harm == "swapped":
        if name in FILES[1:3]:  # equal in both checkpoints, so swap it with another file of the same one
            shutil.copy(folder / "model.safetensors", path)
        else:
            shutil.copy(older / name, path)
    else:
        path.write_bytes(path.read_bytes()[: -9 if harm == "cut" and len(path.read_bytes()) > 9 else 0])
    with pytest.raises(CheckpointError, match=path.name):
        checkpoint.load(folder)


def test_a_whole_checkpoint_under_a_wrong_name_is_refused(tmp_path):
    save(tmp_path, 10).rename(tmp_path / "checkpoints" / "step-000030")
    with pytest.raises(CheckpointError, match="belongs to step 10"):
        checkpoint.load(tmp_path / "checkpoints" / "step-000030")


def test_a_manifest_cannot_name_files_outside(tmp_path):
    folder = save(tmp_path, 10)
    (folder / "manifest.json").write_bytes(
        checkpoint._render({"format": 1, "step": 10, "files": {"../../x": {"bytes": 0, "sha256": ""}}})
    )
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(CheckpointError, match="lies outside"):
        checkpoint.load(folder)
    (folder / "manifest.json").write_bytes(checkpoint._render({"format": 1, "step": 10, "files": [3]}))
    with pytest.raises(CheckpointError, match="does not list its files"):
        checkpoint.load(folder)


@pytest.mark.parametrize("failing", range(4))
def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, monkeypatch, failing):
    save(tmp_path, 10)
    calls, write = [], checkpoint.write

    def full(path, data):
        calls.append(path)
        if len(calls) == failing + 1:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(checkpoint, "write", full)
    with pytest.raises(CheckpointError, match=r"step-000020 \(No space left on device\).*step-000010 is intact"):
        save(tmp_path, 20)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000010"]
    assert checkpoint.load(tmp_path / "checkpoints" / "step-000010").step == 10


def save_for_ever(run: Path, told) -> None:
    torch.set_num_threads(1)
    for step in range(1, 10_000):
        big = {
            "model.safetensors": {"w": torch.full((1000, 100), float(step))},
            "rng.safetensors": {"w": torch.full((100,), step)},
        }
        checkpoint.save(run, step, big, {}, {}, keep=1)
        told.value = step


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_kill_at_any_moment_leaves_a_sound_checkpoint(tmp_path):
    pick, context = random.Random(0), multiprocessing.get_context("fork")
    for trial in range(12):
        run, told = tmp_path / str(trial), context.Value("i", 0, lock=False)
        child = context.Process(target=save_for_ever, args=(run, told))
        child.start()
        while not told.value:
            assert child.is_alive()
            time.sleep(0.001)
        time.sleep(pick.random() * 0.05)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        loaded = checkpoint.load(checkpoint.latest(run))
        assert loaded.step in (told.value, told.value + 1)
        assert torch.equal(loaded.tensors("model.safetensors")["w"], torch.full((1000, 100), float(loaded.step)))


def test_random_state_comes_back():
    rng.seed_all(3)
    tensors, facts = rng.take()

    def draw():
        import numpy as np

        return torch.rand(3).tolist(), np.random.randn(3).tolist(), random.gauss(0, 1), random.random()

    first = draw()
    rng.put(tensors, facts)
    assert draw() == first
