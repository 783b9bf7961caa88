"""Recipes: what they say comes back, and what they say wrongly is named."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitok.errors import ConfigError, DuplicateNameError, UnknownNameError
from omnitok.objectives import Classify, Next
from omnitok.plugins import load_plugins
from omnitok.recipe import Recipe, Task, Train, load_recipe, make_recipe
from omnitok.toml import filled, to_toml

TOYS = Path(__file__).with_name("toys.py")

RECIPE = """
[tokenizers.words]
limit = 50

[[tasks]]
name = "count"
data = { name = "words/counting" }
document = [{ waves = "wave" }, { words = "list" }]
objective = { next = { on = "words" } }

[[tasks]]
name = "kind"
data = { name = "words/counting" }
document = { main = [{ waves = "wave" }] }
objective = { classify = { label = "kind" } }
context = 3

[model]
preset = "decoder"
dim = 32

[train]
steps = 20
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


@pytest.fixture(scope="module")
def host():
    return load_plugins(only=[], files=[TOYS])


def test_a_recipe_is_read(path):
    recipe = load_recipe(path)
    count, kind = recipe.tasks
    assert count.objective == Next("words")
    assert kind.objective == Classify("kind")
    assert list(count.fields()) == [("main", "waves", "wave"), ("main", "words", "list")]
    assert recipe.tokenizers == {"words": {"limit": 50}, "waves": {}}
    assert recipe.preset().dim == 32
    assert (recipe.train.steps, recipe.train.budget) == (20, Train().budget)


def test_shown_recipes_load_back_equal(path, host):
    recipe = load_recipe(path)
    assert make_recipe(tomllib.loads(to_toml(recipe))) == recipe
    full = filled(recipe, host)
    shown = to_toml(full, host)
    assert make_recipe(tomllib.loads(shown)) == full
    assert filled(full, host) == full
    for key in (*Train.__struct_fields__, *Task.__struct_fields__, "depth", "limit", "alphabet", "size", "read"):
        assert key in shown, f"{key} is not shown"
    assert "limit = 50  # longest list" in shown


def test_every_key_is_described():
    for cls in (Task, Train):
        shown = to_toml_notes(cls)
        assert set(shown) == set(cls.__struct_fields__)


def to_toml_notes(cls):
    from omnitok.toml import meanings

    return meanings(cls)


plain = st.recursive(
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inside, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text("abc _.\"'é", min_size=1, max_size=4), plain, max_size=4))
def test_every_value_survives_toml(values):
    task = {"name": "t", "data": {"name": "x"}, "document": [{"words": "list"}], "objective": {"next": {"on": "words"}}}
    recipe = make_recipe({"tokenizers": {"words": values}, "tasks": [task]})
    assert make_recipe(tomllib.loads(to_toml(recipe))) == recipe


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("train.seed=1", lambda r: r.train.seed == 1),
        ("train.lr=1e-4", lambda r: r.train.lr == 1e-4),
        ("train.device=cpu", lambda r: r.train.device == "cpu"),
        ('train.device="cpu"', lambda r: r.train.device == "cpu"),
        ("train.betas=[0.5, 0.9]", lambda r: r.train.betas == (0.5, 0.9)),
        ("tasks.kind.share=2", lambda r: r.tasks[1].share == 2.0),
        ("tasks.0.objective.next.on=waves", lambda r: r.tasks[0].objective == Next("waves")),
        ("tokenizers.words.limit=7", lambda r: r.config("words") == {"limit": 7}),
        ("model.depth=1", lambda r: r.preset().depth == 1),
    ],
)
def test_set_lays_values_over_the_file(path, change, value):
    assert value(load_recipe(path, [change]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.stepz=1", "unknown field 'train.stepz' of Train; did you mean 'steps'"),
        ("train.steps=many", "train.steps: Expected `int`"),
        ("train.budget=0", r"train.budget: Expected `int` >= 1, got 0"),
        ("train.precision=fp8", "train.precision"),
        ("tasks.kind.shape=1", r"unknown field 'tasks\[1\].shape' of Task; did you mean 'share'"),
        ("tasks.kid.share=1", "unknown table .* 'kid'; did you mean 'kind'"),
        ("tasks.kind.share=0", r"tasks\[1\].share: Expected `float` > 0.0, got 0"),
        ("tasks.kind.objective.classify.lable=1", r"unknown field 'tasks\[1\].objective.classify.lable' .*did you mean 'label'"),
        ("tasks.0.objective={ nxt = {} }", r"unknown objective at tasks\[0\].objective: 'nxt'; did you mean 'next'"),
        ("tasks.0.objective=next", r"tasks\[0\].objective: write it as"),
        ("tasks.0.document=[]", "must be a list of"),
        ("tasks.0.document=[{ a = 'x', b = 'y' }]", "must be a list of"),
        ("tasks.0.data={ split = 'train' }", r"tasks\[0\].data: say where samples come from"),
        ("tasks.0.name=A B", "use lower-case letters"),
        ("model.preset=decodr", "unknown preset 'decodr'; did you mean 'decoder'"),
        ("model.dimm=3", "unknown field 'model.dimm' of Decoder; did you mean 'dim'"),
        ("modell.dim=3", "unknown field 'modell' of Recipe; did you mean 'model'"),
        ("train", "write it as train.seed=1"),
        ("tasks=3", "at least one"),
    ],
)
def test_mistakes_are_named(path, change, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(path, [change])


def test_files_that_are_no_recipe(tmp_path, path):
    with pytest.raises(ConfigError, match=r"nothing\.toml: cannot read the recipe"):
        load_recipe(tmp_path / "nothing.toml")
    path.write_text("[train")
    with pytest.raises(ConfigError, match=r"recipe\.toml: not valid TOML"):
        load_recipe(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"recipe\.toml: not valid TOML"):
        load_recipe(path)
    with pytest.raises(ConfigError, match="at least one"):
        make_recipe({})


def test_names_are_unique_and_known(path):
    recipe: Recipe = load_recipe(path)
    with pytest.raises(UnknownNameError, match="unknown task 'cont'; did you mean 'count'"):
        recipe.task("cont")
    with pytest.raises(DuplicateNameError, match="two tasks are named 'count'"):
        load_recipe(path, ["tasks.kind.name=count"])
