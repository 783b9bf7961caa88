"""Where samples come from: folders are split by file, and every mistake names the task and the file."""

from pathlib import Path

import pytest
from toys import Words

from omnitok.errors import ConfigError, InputError, UnknownNameError
from omnitok.plugins import load_plugins
from omnitok.recipe import make_recipe
from omnitok.sources import Folder, dataset_of

TOYS = Path(__file__).with_name("toys.py")


@pytest.fixture
def home(tmp_path):
    for i in range(12):
        path = tmp_path / ("odd" if i % 2 else "even") / f"{i:02d}.words"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{i} {i + 1}")
    (tmp_path / "notes.md").write_text("not for this tokenizer")
    return tmp_path


def folder(home):
    return Folder(folder=str(home), reader=Words(instance="words"), suffixes=(".words",))


def test_a_folder_is_split_by_file(home):
    train, held = folder(home).split("train"), folder(home).split("eval")
    assert len(train) == 10
    assert len(held) == 2
    samples = [*train, *held]
    assert sorted(s["name"] for s in samples) == [f"{i:02d}" for i in range(12)]
    assert all(s["file"] == [int(s["name"]), int(s["name"]) + 1] for s in samples)
    assert all(s["folder"] == ("odd" if int(s["name"]) % 2 else "even") for s in samples)
    assert folder(home).metadata() == {"classes": ["even", "odd"]}
    assert [s["name"] for s in folder(home).split("train")] == [s["name"] for s in train]


def test_two_files_are_enough_and_one_is_not(home):
    for path in sorted(home.rglob("*.words"))[2:]:
        path.unlink()
    assert (len(folder(home).split("train")), len(folder(home).split("eval"))) == (1, 1)
    next(home.rglob("*.words")).unlink()
    with pytest.raises(ConfigError, match=r"has 1 files that 'words' reads \(\.words\)"):
        folder(home).split("train")
    with pytest.raises(ConfigError, match="does not exist"):
        Folder(folder=str(home / "x"), reader=Words(), suffixes=(".words",)).files()


def test_a_file_that_cannot_be_read_is_named(home):
    train = folder(home).split("train")
    train.files[3].unlink()
    with pytest.raises(InputError, match=rf"{train.files[3].name}: cannot be read"):
        train[3]


def recipe(data, document=({"words": "list"},)):
    task = {"name": "count", "data": data, "document": list(document), "objective": {"next": {"on": "words"}}}
    return make_recipe({"tasks": [task]})


def test_data_by_kind_and_its_mistakes():
    host = load_plugins(only=[], files=[TOYS])

    def dataset(data, *document):
        made = recipe(data, document or ({"words": "list"},))
        return dataset_of(made, made.tasks[0], host)

    assert dataset({"name": "words/counting", "size": 5}).size == 5
    assert dataset({"kept": "somewhere"}).where == "somewhere"
    with pytest.raises(ConfigError, match=r"write { name = .words/counting. } with its fields"):
        dataset({"counting": "x"})
    with pytest.raises(UnknownNameError, match="data of task 'count': unknown kind of data 'kpt'; did you mean 'kept'"):
        dataset({"kpt": "x"})
    with pytest.raises(
        UnknownNameError, match="data of task 'count': unknown dataset 'words/cuonting'; did you mean 'words/counting'"
    ):
        dataset({"name": "words/cuonting"})
    with pytest.raises(ConfigError, match='none is read as "file"'):
        dataset({"folder": "x"})
    with pytest.raises(ConfigError, match="plugin 'words' declares no file suffixes"):
        dataset({"folder": "x"}, {"words": "file"})
