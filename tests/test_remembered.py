"""Encoded training samples are kept while there is room: nothing that is drawn from them changes."""

from pathlib import Path
from typing import Any

import pytest

from omnitok import tasks as room
from omnitok.plugins import load_plugins
from omnitok.recipe import make_recipe
from omnitok.tasks import Tasks, prepare

TOYS = Path(__file__).parent / "toys.py"
EPISODES = {"name": "trajectory/cartpole-mix", "count": 12}
RECIPE: dict[str, Any] = {
    "tokenizers": {"cartpole": {"plugin": "trajectory"}},
    "tasks": [
        {
            "name": "balance",
            "data": EPISODES,
            "document": [{"cartpole": "episode"}],
            "objective": {"next": {"on": "cartpole/action"}},
            "context": 12,
        }
    ],
}


def ready() -> Tasks:
    return prepare(make_recipe(RECIPE), load_plugins(only=["trajectory"]))


@pytest.mark.parametrize("most", [0, 3000, 1 << 27])
def test_windows_are_the_same_with_and_without_what_is_kept(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_ENCODED", most)
    tasks = ready()
    keys = [f"0/balance/{k}" for k in range(3)]
    first = [tasks("balance", i, key) for key in keys for i in range(4)]
    fresh = [ready()("balance", i, key) for key in keys[:1] for i in range(4)]
    assert [d.streams for d in first[:4]] == [d.streams for d in fresh]
    again = [tasks("balance", i, key) for key in keys for i in range(4)]
    assert [d.streams for d in again] == [d.streams for d in first]
    assert sum(x.nbytes for t in tasks._encoded.values() for s in t.spans for x in (s.content, *s.axes.values())) <= most
    assert bool(tasks._encoded) == (most > 0)


def test_what_is_kept_does_not_travel_to_workers() -> None:
    tasks = ready()
    tasks("balance", 0, "0/balance/0")
    assert tasks._encoded and not tasks.__getstate__()["_encoded"]
