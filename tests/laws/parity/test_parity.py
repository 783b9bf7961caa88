"""Law: a preset with a reference's weights gives the reference's outputs, and gives its weights back.

Committed wrong settings must fail, so that the tolerances are proven to bite.
"""

from fnmatch import fnmatchcase
from functools import lru_cache

import pytest
import torch

from omnitok.config import from_plain, to_plain
from omnitok.errors import CheckpointError, ConfigError
from omnitok.generate import Session
from omnitok.model import Transformer
from omnitok.weights import Reference, export_weights, import_weights
from tests.laws.laws import cached_equals_full, uncut
from tests.laws.parity.case import CASES, FP32, FP64, PUBLISHED, Case, distance, load_families, randomise

pytestmark = pytest.mark.slow
load_families()


@lru_cache(maxsize=2)
def made(name: str) -> Case:
    """The case, kept for the tests that follow."""
    torch.manual_seed(0)
    return CASES[name]()


def tolerance(case: Case) -> float:
    """What single precision may differ: 1e-5, or where scores are unscaled twice what the reference itself loses."""
    if not case.unscaled:
        return FP32
    return max(FP32, 2 * distance(case.want(torch.float32), case.want(torch.float64)))


@pytest.mark.parametrize("name", CASES)
def test_packed_documents_give_the_references_outputs(name: str) -> None:
    case = made(name)
    model, want = case.model(torch.float64), case.want(torch.float64)
    for backend in ("auto", "rows", "dense"):
        assert distance(case.got(model, backend), want) <= FP64, f"double precision, {backend}"
    assert distance(case.got(case.model()), case.want()) <= tolerance(case), "single precision"


@pytest.mark.parametrize("name", CASES)
def test_weights_come_back_bit_by_bit(name: str) -> None:
    case = made(name)
    state = {k: v.clone() for k, v in case.state(case.reference).items()}
    model = case.build()
    import_weights(model, state)
    back = export_weights(model, layout=layout_of(case, model))
    assert back.keys() == state.keys()
    read = [k for k in state if not any(fnmatchcase(k, p) for p in case.unread)]
    assert [k for k in read if not torch.equal(back[k], state[k])] == []


def layout_of(case: Case, model: Transformer) -> str:
    """The weight map whose keys are the reference's."""
    maps = case.preset.maps({role: model.channel_info[channel] for role, channel in model.roles.items()})
    keys = set(case.state(case.reference))
    return max(maps, key=lambda n: len(keys & {k for r in maps[n] for k in r.theirs}))


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_setting_is_seen(name: str) -> None:
    case = made(name)
    assert case.wrong or ":" in name, "a preset needs its negative controls"
    want, limit = case.want(), tolerance(case)
    for what, edit in case.wrong.items():
        try:
            model = case.model(preset=edit(case.preset))
        except (CheckpointError, ConfigError):
            continue  # refused by strict loading
        assert distance(case.got(model), want) > limit, f"{what} went unseen"


@pytest.mark.parametrize("name", CASES)
def test_start_values_are_distributed_as_the_references(name: str) -> None:
    """Spread, mean and largest value of every tensor with enough entries to tell; constants exactly."""
    case = made(name)
    if not case.initial:
        pytest.skip("the preset keeps its own start values")
    torch.manual_seed(1)
    theirs = {k: v.double() for k, v in case.state(case.fresh()).items() if v.is_floating_point()}
    model = case.build()
    ours = {k: v.double() for k, v in export_weights(model, layout=layout_of(case, model)).items()}
    for key, want in theirs.items():
        if any(fnmatchcase(key, p) for p in case.unread):
            continue
        got, n = ours[key], want.numel()
        if want.numel() == 1 or float(want.std()) == 0:
            assert torch.allclose(got, want, atol=1e-7), f"{key}: starts at {want.flatten()[0]}, ours at {got.flatten()[0]}"
        elif n >= 256:
            error = 6 / (2 * n) ** 0.5
            assert abs(got.std() / want.std() - 1) < error, f"{key}: spread {want.std():.4g}, ours {got.std():.4g}"
            assert abs(got.mean() - want.mean()) < 6 * want.std() / n**0.5, (
                f"{key}: mean {want.mean():.4g}, ours {got.mean():.4g}"
            )
            most = (got.abs().max() / want.abs().max()).item()
            assert 0.6 < most < 1.67, f"{key}: largest {want.abs().max():.4g}, ours {got.abs().max():.4g}"


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_is_data(name: str) -> None:
    case = made(name)
    plain = to_plain(case.preset)
    assert from_plain(plain, type(case.preset)) == case.preset
    model = case.build().config
    assert from_plain(to_plain(model), type(model)) == model
    cls = type(case.preset)
    assert issubclass(cls, Reference) and cls.source and cls.suits and cls.published, "say where it comes from"


@pytest.mark.parametrize("name", CASES)
def test_packed_is_alone_with_gradients(name: str) -> None:
    """Outputs of a document, and the gradient of all its weights, are the same beside others."""
    case = made(name)
    model = case.model(torch.float64)
    together = case.got(model)
    alone = [case_of_one(case, i).got(model) for i in range(len(case.raw))]
    assert distance(together, {t: torch.cat([a[t] for a in alone]) for t in together}) <= FP64


def case_of_one(case: Case, i: int) -> Case:
    one = object.__new__(Case)
    one.__dict__ = {**case.__dict__, "raw": [case.raw[i]]}
    return one


@pytest.mark.parametrize("name", CASES)
def test_cached_is_recomputed_or_refused(name: str) -> None:
    case = made(name)
    model = case.model(torch.float64)
    documents = case.documents()
    if not case.steps:
        with pytest.raises(ConfigError):
            Session(model)
        return
    memory = {s: [d.streams[s] for d in documents] for s in documents[0].streams if s != model.main}
    parts = []
    for d in documents:
        sequence = d.streams[model.main]
        cuts = uncut(sequence, model, {})
        parts.append([sequence[a:b] for a, b in zip([0, *cuts], [*cuts, len(sequence)], strict=True)])
    cached_equals_full(model, parts, memory=memory, tolerance=FP64)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    torch.manual_seed(0)
    case = PUBLISHED[name]()
    model = case.model()
    theirs = {p.data_ptr(): p.numel() for p in case.reference.parameters()}
    if not case.unread:
        ours = sum(p.numel() for n, p in model.named_parameters() if n.startswith("streams."))
        assert ours == sum(theirs.values()) - case.idle, "as many parameters as the reference"
    want = case.want()
    error = distance(case.got(model), want)
    limit = FP32 if not case.unscaled else max(FP32, 2 * distance(want, case.want(torch.float64)))
    assert error <= limit


def test_randomise_moves_every_parameter() -> None:
    layer = torch.nn.LayerNorm(4)
    randomise(layer)
    assert bool((layer.weight != 1).all() and (layer.bias != 0).all())
