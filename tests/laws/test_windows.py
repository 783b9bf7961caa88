"""Keys that no window reaches any more are dropped, and nothing changes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnitok.generate import Session
from omnitok.model import Model, Preset, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.cache import Cache
from omnitok.nn.norms import Norm
from omnitok.nn.positions import Rope
from omnitok.nn.recurrent import Recurrent
from omnitok.nn.residual import Residual
from tests.laws import worlds
from tests.laws.laws import (
    cached_equals_full,
    close,
    last_row,
    pieces,
    uncut,
)
from tests.laws.worlds import world_model


class Near(Preset, frozen=True):
    """Windows of different width, and a layer that sees everything where `far` says so."""

    far: bool = False

    def model(self, bound, channels):
        windows = (3, 5, None) if self.far else (3, 5)
        blocks = tuple((Residual("attention", Attention(2, window=w, positions=(Rope(),)), pre=Norm()),) for w in windows)
        return Model({"main": Stream(16, (*blocks, (Residual("state", Recurrent("gru")),)), Norm())})


NEAR, FAR = world_model(Near()), world_model(Near(far=True))
GRU = world_model(worlds.STATEFUL["gru"])
KINDS = (worlds.words, worlds.patches, worlds.nodes, lambda n, g: worlds.tags(2, g) + worlds.sound(n, g))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), far=st.booleans())
def test_what_a_window_leaves_behind_may_be_dropped(data, kinds, far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ragged documents in pieces of any size, behind a cache that begins with two slots."""
    monkeypatch.setattr(Cache.__init__, "__defaults__", (2,))
    model, parts = FAR if far else NEAR, []
    for kind in kinds:
        n = data.draw(st.integers(1, 12))
        sequence = kind(n, worlds.maker(n)) + worlds.words(9, worlds.maker(n + 1))
        allowed = uncut(sequence, model, {})
        parts.append(list(pieces(sequence, sorted(data.draw(st.sets(st.sampled_from(allowed)))) if allowed else ())))
    cached_equals_full(model, parts)


@pytest.mark.parametrize("select", [False, True])
def test_slots_are_as_many_as_the_longest_window_needs(select: bool) -> None:
    g, sessions = worlds.maker(0), [Session(model, 2) for model in (NEAR, FAR, GRU)]
    for turn in range(150):
        token = worlds.words(1, g)
        for session in sessions:
            session.feed([token, token if turn % 3 else None])
            if select and turn % 40 == 7:
                session.select([1, 0])
    near, far, gru = (s.cache for s in sessions)
    assert near.capacity == gru.capacity == 64 and far.capacity >= 128
    assert {x.shape[1] for pair in near.layers.values() for x in pair} == {64}
    assert {x.shape[1] for c in (near, gru) for x in c.columns.values()} == {64}
    assert not bool(far.dropped.any()) and bool((near.dropped > 0).all())
    for session in sessions:
        for i, held in enumerate(session.history):
            close(session.last[i], last_row(session.model, held), "after 150 tokens")


def test_a_long_prompt_leaves_no_slots_behind() -> None:
    """Nor time: the next token is compared with as many keys as the window needs."""
    g, session = worlds.maker(0), Session(NEAR, 2)
    session.feed([worlds.words(300, g), worlds.words(2, g)])
    assert session.cache.capacity == 512
    session.feed([worlds.words(1, g), worlds.words(1, g)])
    assert session.cache.capacity == 64 and session.cache.width == 5
    for i, held in enumerate(session.history):
        close(session.last[i], last_row(NEAR, held), "behind a long prompt")


def drop_one_more(self, lengths, keep, slots):
    """The oldest key that the widest window still sees is dropped too."""
    DROP(self, lengths, keep - 1, slots)


def windowed() -> None:
    session, g = Session(NEAR), worlds.maker(0)
    for _ in range(64):
        session.feed(worlds.words(1, g))
    close(session.feed(worlds.words(1, g)).last[0], last_row(NEAR, session.history[0]), "behind a full cache")


DROP = Cache._drop


def test_a_key_dropped_too_early_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    windowed()
    monkeypatch.setattr(Cache, "_drop", drop_one_more)
    with pytest.raises(AssertionError):
        windowed()
