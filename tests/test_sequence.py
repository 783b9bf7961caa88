"""Spans and sequences: how they join, are cut, compare and complain."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from omnitok.errors import SequenceError
from omnitok.sequence import Span, TokenSequence
from tests.strategies import quick, sequences


def ids(channel: str, *values: int, **parts) -> Span:
    return Span(channel, ids=torch.tensor(values, dtype=torch.long), **parts)


def tokens_of(sequence: TokenSequence) -> list[tuple]:
    """What stands at every place: channel, content and axes, as plain values."""
    found = {}
    for span, places in zip(sequence.spans, sequence.places, strict=True):
        for i, place in enumerate(places.tolist()):
            found[place] = (span.channel, span.content[i].tolist(), {k: v[i].tolist() for k, v in span.axes.items()})
    return [found[place] for place in range(len(sequence))]


def edges_of(sequence: TokenSequence) -> dict[str, list[tuple]]:
    return {k: [*zip(*ends.tolist(), labels.tolist(), strict=True)] for k, (ends, labels) in sequence.pairs.items()}


@quick
@given(sequences(), sequences(), sequences())
def test_joining_is_associative(a, b, c):
    assert (a + b) + c == a + (b + c)


@quick
@given(sequences(), sequences())
def test_joining_puts_the_tokens_and_pairs_of_one_behind_the_other(a, b):
    joined = a + b
    assert len(joined) == len(a) + len(b)
    assert tokens_of(joined) == tokens_of(a) + tokens_of(b)
    moved = {k: [(q + len(a), p + len(a), label) for q, p, label in v] for k, v in edges_of(b).items()}
    for name in joined.pairs:
        assert edges_of(joined)[name] == edges_of(a).get(name, []) + moved.get(name, [])


def test_pairs_are_offset_by_a_join_and_dropped_by_a_cut():
    edges = {"edge": (torch.tensor([[0, 2, 1], [1, 0, 1]]), torch.tensor([7, 8, 9]))}
    network = TokenSequence((ids("point", 4, 5, 6),), edges)
    joined = ids_of("letter", 1, 2) + network + network
    first, second = [(2, 3, 7), (4, 2, 8), (3, 3, 9)], [(5, 6, 7), (7, 5, 8), (6, 6, 9)]
    assert edges_of(joined) == {"edge": first + second}
    assert edges_of(joined[3:8]) == {"edge": [(0, 0, 9), (2, 3, 7), (4, 2, 8), (3, 3, 9)]}
    assert edges_of(joined.select("point")[3:]) == edges_of(network)


@quick
@given(sequences(), st.data())
def test_a_slice_holds_the_tokens_between_its_ends_and_the_pairs_inside(s, data):
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(s)), st.integers(0, len(s)))))
    cut = s[start:stop]
    assert tokens_of(cut) == tokens_of(s)[start:stop]
    inside = {
        k: [(q - start, p - start, label) for q, p, label in v if start <= q < stop and start <= p < stop]
        for k, v in edges_of(s).items()
    }
    assert edges_of(cut) == inside


@quick
@given(sequences(), st.data())
def test_slice_then_join_is_the_identity(s, data):
    k = data.draw(st.integers(0, len(s)))
    assume(all((q < k) == (p < k) for v in edges_of(s).values() for q, p, _ in v))
    assume(len(s))
    s = ordered_pairs(s, k)
    assert s[:k] + s[k:] == s


@quick
@given(sequences(), st.data())
def test_cutting_anywhere_and_joining_gives_all_tokens_back(s, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(s)), max_size=4)))
    joined = TokenSequence()
    for a, b in zip([0, *cuts], [*cuts, len(s)], strict=True):
        joined = joined + s[a:b]
    assert tokens_of(joined) == tokens_of(s)
    assert all(span.part is None for span in joined.spans), "pieces of one object grow together again"


def ordered_pairs(s: TokenSequence, k: int) -> TokenSequence:
    """The same sequence with the pairs before k listed first: their order carries no meaning, and a cut sorts them so."""
    turn = {name: torch.argsort((ends[0] >= k).int(), stable=True) for name, (ends, _) in s.pairs.items()}
    return s.replace(pairs={name: (ends[:, turn[name]], labels[turn[name]]) for name, (ends, labels) in s.pairs.items()})


@quick
@given(sequences())
def test_the_whole_slice_is_the_sequence(s):
    assert s[:] == s
    assert s[0 : len(s) + 5] == s
    assert s[-len(s) - 1 :] == s


@quick
@given(sequences(least=1))
def test_a_change_anywhere_makes_sequences_differ(s):
    assume(len(s))
    assert s == s.map(torch.clone)
    for i, span in enumerate(s.spans):
        for changed in (span.replace(channel="other"), span.replace(meta={"changed": 1}), span.replace(axes={})):
            if changed != span:
                assert s.replace(spans=(*s.spans[:i], changed, *s.spans[i + 1 :])) != s
    first = s.spans[0]
    name = "ids" if first.ids is not None else "features"
    assert s.replace(spans=(first.replace(**{name: first.content + 1}), *s.spans[1:])) != s
    assert s != "s"
    assert s != s[1:]


@quick
@given(sequences())
def test_repr_names_the_channels_and_stays_short(s):
    text = repr(s)
    assert text.startswith(f"TokenSequence({len(s)} tokens")
    assert all(channel in text for channel in s.channels)
    assert len(text) < 60 + 120 * len(s.spans)
    assert "\n" not in text and "tensor(" not in text


def test_repr_of_a_long_sequence_does_not_grow_with_its_tokens():
    short = TokenSequence((Span("tile", features=torch.zeros(3, 16, 16, 3, dtype=torch.uint8), axes={"h": torch.arange(3)}),))
    assert repr(short) == "TokenSequence(3 tokens: tile[3] features 16x16x3 uint8 axes h)"
    assert repr(short[1:]) == "TokenSequence(2 tokens: tile[2] features 16x16x3 uint8 axes h (tokens 1-2 of 3))"


@quick
@given(sequences())
def test_selecting_keeps_the_tokens_of_a_channel_in_their_order(s):
    for channel in s.channels:
        assert tokens_of(s.select(channel)) == [t for t in tokens_of(s) if t[0] == channel]
        instance = channel.split("/")[0]
        assert tokens_of(s.select(instance)) == [t for t in tokens_of(s) if t[0].split("/")[0] == instance]


def test_selecting_an_unknown_channel_names_the_nearest():
    with pytest.raises(SequenceError, match="no channel 'lettr' here; did you mean 'letter'"):
        TokenSequence((ids("letter", 1),)).select("lettr")


def test_an_interleaved_object_stands_where_its_index_says():
    s = TokenSequence((ids("a", 1, 2, index=torch.tensor([0, 2])), ids("b", 7, 8, index=torch.tensor([1, 3]))))
    assert [t[1] for t in tokens_of(ids_of("c", 5) + s + ids_of("c", 6))] == [5, 1, 7, 2, 8, 6]
    assert [t[1] for t in tokens_of(s[1:3])] == [7, 2]
    assert [(span.channel, span.part) for span in s[1:3].spans] == [("a", (1, 2)), ("b", (0, 2))]


def ids_of(channel: str, *values: int) -> TokenSequence:
    return TokenSequence((ids(channel, *values),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Span("x"), "needs ids or features"),
        (lambda: Span("x", ids=torch.zeros(2).long(), features=torch.zeros(2)), "needs ids or features"),
        (lambda: Span("x", ids=torch.zeros(2)), "ids of 'x' must be integers"),
        (lambda: Span("x", ids=torch.zeros(2, 2, 2).long()), "ids of 'x' must be integers"),
        (lambda: ids("x", 1, 2, axes={"step": torch.arange(3)}), "'step' of 'x' has 3 rows for 2 tokens"),
        (lambda: ids("x", 1, 2, index=torch.arange(3)), "'index' of 'x' has 3 rows for 2 tokens"),
        (lambda: TokenSequence((ids("x", 1, 2, index=torch.tensor([0, 2])),)), "do not tile"),
        (lambda: TokenSequence((ids("x", 1, 2, index=torch.tensor([0, 0])),)), "do not tile"),
        (lambda: TokenSequence((ids("x", 1, 2, index=torch.tensor([1, 0])),)), "must increase"),
        (lambda: TokenSequence((ids("x", 1),), {"e": (torch.tensor([[0], [1]]), torch.tensor([0]))}), "pairs 'e'"),
        (lambda: TokenSequence((ids("x", 1),), {"e": (torch.tensor([[-1], [0]]), torch.tensor([0]))}), "pairs 'e'"),
        (lambda: TokenSequence((ids("x", 1),), {"e": (torch.zeros(2, 2).long(), torch.tensor([0]))}), "pairs 'e'"),
        (lambda: ids_of("x", 1, 2)[::2], "slice of step 1"),
        (lambda: ids_of("x", 1, 2)[0], "slice of step 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(make, message):
    with pytest.raises(SequenceError, match=message):
        make()


def test_joining_something_else_is_a_type_error():
    with pytest.raises(TypeError):
        ids_of("x", 1) + ids("x", 2)
