"""Weight maps: every operation can be undone, and every key that does not fit is named."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omnitok import presets
from omnitok.assemble import build
from omnitok.errors import CheckpointError, ConfigError
from omnitok.model import Transformer
from omnitok.nn.steps import Linear
from omnitok.tokenizer import Channel
from omnitok.weights import Cat, Fixed, Op, Shape, T, Tie, affine, dump, export_weights, import_weights, load, rule

sizes = st.integers(1, 5)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@st.composite
def operations(draw: st.DrawFn) -> tuple[Op, list[Tensor], list[Tensor]]:
    """An operation, tensors as they keep them, and tensors as we do."""
    a, b, parts = draw(sizes), draw(sizes), draw(st.integers(2, 4))
    whole = noise(a * parts, b)
    return draw(
        st.sampled_from(
            [
                (Op(), [noise(a, b)], [noise(a, b)]),
                (T(), [noise(a, b)], [noise(a, b).T]),
                (Cat(parts), [whole], list(whole.split(a))),
                (Cat(parts, transposed=True), [whole.T], list(whole.split(a))),
                (Tie(parts), [noise(a)] * parts, [noise(a)]),
                (Shape((a, b), (1, a * b)), [noise(a, b).view(1, -1)], [noise(a, b)]),
            ]
        )
    )


@settings(deadline=None)
@given(operations())
def test_an_operation_is_undone_by_its_other_half(case: tuple[Op, list[Tensor], list[Tensor]]) -> None:
    op, theirs, ours = case
    rules = rule([f"o{i}" for i in range(len(ours))], [f"t{i}" for i in range(len(theirs))], op)
    their_state, our_state = ({f"{k}{i}": x for i, x in enumerate(xs)} for k, xs in (("t", theirs), ("o", ours)))
    for got, want in ((load(rules, their_state), our_state), (dump(rules, our_state), their_state)):
        assert got.keys() == want.keys()
        assert all(torch.equal(got[k], want[k]) and got[k].is_contiguous() for k in want)


def test_blocks_are_numbered() -> None:
    rules = affine("blocks.{i}.o", "h.{i}.proj", T(), 2)
    assert [(r.ours, r.theirs) for r in rules][:3] == [
        (("blocks.0.o.weight",), ("h.0.proj.weight",)),
        (("blocks.1.o.weight",), ("h.1.proj.weight",)),
        (("blocks.0.o.bias",), ("h.0.proj.bias",)),
    ]


def test_keys_that_do_not_fit_are_named() -> None:
    rules = [*rule("ours", "theirs"), *rule("both", ("copy.1", "copy.2"), Tie()), *rule((), "fixed", Fixed(lambda: noise(1)))]
    good = {"theirs": noise(2), "copy.1": noise(3), "copy.2": noise(3), "fixed": noise(4)}
    assert load(rules, good).keys() == {"ours", "both"}
    assert load(rules, {k: good[k] for k in ("theirs", "copy.2")}).keys() == {"ours", "both"}  # files drop tied copies
    with pytest.raises(CheckpointError, match=r"reads no 'extra'.*leave_out"):
        load(rules, {**good, "extra": noise(1)})
    with pytest.raises(CheckpointError, match="lacks 'theirs'"):
        load(rules, {k: good[k] for k in ("copy.1", "copy.2")})
    with pytest.raises(CheckpointError, match=r"lacks 'copy\.1', 'copy\.2'"):
        load(rules, {"theirs": noise(2)})
    with pytest.raises(CheckpointError, match=r"copy\.1, copy\.2: copies of one tied parameter differ"):
        load(rules, {**good, "copy.2": noise(3) + 1})
    with pytest.raises(CheckpointError, match="no place for 'extra'"):
        dump(rules, {"ours": noise(2), "both": noise(3), "extra": noise(1)})
    with pytest.raises(CheckpointError, match="the model lacks 'both'"):
        dump(rules, {"ours": noise(2)})


@pytest.mark.parametrize("twice", [rule("a", "x") + rule("a", "y"), rule("a", "x") + rule("b", "x")], ids=["ours", "theirs"])
def test_a_key_that_two_rules_name_is_refused(twice: list) -> None:
    state = dict.fromkeys("abxy", noise(1))
    with pytest.raises(ConfigError, match=r"names '[ax]' twice"):
        load(twice, {k: state[k] for k in "xy"})
    with pytest.raises(ConfigError, match=r"names '[ax]' twice"):
        dump(twice, {k: state[k] for k in "ab"})


def small(**changes: int) -> Transformer:
    return build(presets.gpt2(**{"dim": 8, "depth": 2, "heads": 2, "positions": 6} | changes), {"words": Channel(vocab=11)})


def test_a_state_dict_of_another_size_changes_nothing() -> None:
    model, theirs = small(), export_weights(small(positions=7))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"'streams\.main\.steps\.0\.table' is \[6, 8\] .* and \[7, 8\]"):
        import_weights(model, theirs)
    with pytest.raises(CheckpointError, match=r"lacks 'transformer\.h\.1\.attn\.c_attn\.bias'"):
        import_weights(model, export_weights(small(depth=1)))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_may_be_left_out_is_named() -> None:
    preset, channels = (
        presets.gpt2(dim=8, depth=1, heads=2, positions=6),
        {"words": Channel(vocab=11), "waves": Channel(width=(3,))},
    )
    model = build(preset, channels, {"kind": (Linear(4),)}, roles={"tokens": "words"})
    with pytest.raises(CheckpointError, match=r"no place for 'channels\.waves.* and 1 more; name it in `leave_out`"):
        export_weights(model)
    theirs = export_weights(model, ["channels.waves.*", "heads.kind.*"])
    old = {**theirs, "transformer.h.0.attn.gain": torch.ones(6)}
    with pytest.raises(CheckpointError, match=r"attn\.gain"):
        import_weights(model, old)
    import_weights(model, old, ["*.attn.gain"])
    import_weights(model, {**theirs, "transformer.h.0.attn.bias": torch.ones(6, 6).tril()})  # a mask, which nothing reads


def test_a_preset_of_our_own_has_no_map() -> None:
    model = build(presets.decoder(dim=8, depth=1, heads=2), {"words": Channel(vocab=11)})
    with pytest.raises(ConfigError, match="'decoder' follows no published model"):
        export_weights(model)
