"""What a parity case is: a reference library's model, our preset for it, and documents that both can read.

Families of cases live beside this file; each registers small ones with `@case` and published sizes with `@published`.
Every parameter and running statistic of the reference is randomised: initialisers hide wrong maps behind zeros and
ones. Our documents are packed, the reference runs them one by one.
"""

import importlib
import pkgutil
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from omnitok.assemble import build
from omnitok.batch import Ask, Document, collate
from omnitok.model import READOUT, Preset, Transformer
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.weights import Reference, import_weights

VOCAB, DIM, DEPTH, HEADS, HIDDEN = 61, 48, 3, 4, 96
LENGTHS = (7, 12, 5)
FP32, FP64 = 1e-5, 1e-10
SMALL = {"dim": DIM, "depth": DEPTH, "heads": HEADS}
LARGE = 2**28
"""numbers of a tensor above which its noise is made in parts"""
READ = torch.tensor([READOUT])
"""content of the first readout token"""


@contextmanager
def quiet() -> Iterator[None]:
    """The references' own warnings are not ours to fix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def library(name: str) -> Any:
    """A reference's package; the test is skipped where it is not installed."""
    with quiet():
        return pytest.importorskip(name, reason="needs the extra `parity`", exc_type=ImportError)


def maker(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ids(n: int, seed: int, vocab: int = VOCAB) -> Tensor:
    """n ids, none of them 0."""
    return torch.randint(1, vocab, (n,), generator=maker(seed))


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Double precision, so that both precisions are given the same numbers."""
    return torch.randn(shape, generator=maker(seed), dtype=torch.float64)


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Noise on every parameter and running statistic, in place."""
    g = maker(seed)
    for p in module.parameters():
        scale = 0.3 if p.dim() < 2 else 0.5 / p.shape[-1] ** 0.5
        for part in p if p.numel() > LARGE else [p]:
            part.add_(torch.randn(part.shape, generator=g).mul_(scale))
    for name, b in module.named_buffers():
        if name.endswith("running_mean"):
            b.copy_(torch.randn(b.shape, generator=g) * 0.3)
        if name.endswith("running_var"):
            b.copy_(torch.rand(b.shape, generator=g) + 0.5)
    return module.eval()


Answers = dict[str, Tensor]
Edit = Callable[[Any], Preset]


@dataclass
class Case:
    """A reference, our preset for it, and raw documents. Tensors of raw documents are float64 or integers."""

    fresh: Callable[[], nn.Module]
    """the reference as its library makes it, with its own start values"""
    preset: Reference
    channels: dict[str, Channel]
    raw: Sequence[Any]
    """documents as the reference is given them: a tensor or a tuple of tensors each"""
    document: Callable[[Any], Document]
    """one of `raw` as ours; heads are asked as "<stream>:<head>" (see `asked`)"""
    answer: Callable[[nn.Module, Any], Answers]
    """the reference's answers to one of `raw`, by task, or by stream where `hidden` names it"""
    hidden: tuple[str, ...] = ()
    """streams whose last rows are compared, for references without heads"""
    roles: dict[str, str] = field(default_factory=dict)
    readouts: tuple[str, ...] = ("label",)
    unread: tuple[str, ...] = ()
    """patterns of their tensors that the reference itself never reads, so that we do not keep them"""
    idle: int = 0
    """numbers among their parameters that never learn, such as rows for padding, so that we do not keep them"""
    tuned: Callable[[nn.Module], None] = lambda reference: None
    """a change of the randomised reference, in place"""
    unscaled: bool = False
    """its scores are not divided by sqrt(head_dim), so single precision may be as far off as the reference's own, twice"""
    steps: bool = False
    """whether it can be decoded token by token"""
    initial: bool = True
    """whether the preset follows the reference's start values"""
    wrong: Mapping[str, Edit] = field(default_factory=dict)
    """settings that must be seen: name -> the preset, changed; or refused by strict loading"""
    state: Callable[[nn.Module], Mapping[str, Tensor]] = lambda reference: reference.state_dict()
    """the part of the reference's state dict that the preset covers"""
    lent: bool = False
    """our model computes with the reference's own tensors, where two copies are too large; single precision only"""
    note: str = ""
    """what the reference is, for the table: library and class"""

    def __post_init__(self) -> None:
        with quiet():
            self.reference = randomise(self.fresh())
        with torch.no_grad():
            self.tuned(self.reference)

    def build(self, preset: Preset | None = None) -> Transformer:
        """Our model with start values."""
        return build(preset or self.preset, self.channels, {}, self.readouts, self.roles).eval()

    def model(self, dtype: torch.dtype = torch.float32, preset: Preset | None = None) -> Transformer:
        """Our model with the reference's weights."""
        if self.lent:
            return self._lend()
        model = self.build(preset)
        self.reference.float()
        import_weights(model, self.state(self.reference))
        return model.to(dtype)

    @torch.no_grad()
    def _lend(self) -> Transformer:
        """Our model, built without memory of its own, with the reference's tensors or views of them."""
        with torch.device("meta"):
            model = self.build()
        state = self.state(self.reference)
        maps = self.preset.maps({role: model.channel_info[channel] for role, channel in model.roles.items()})
        rules = max(maps.values(), key=lambda m: len(state.keys() & {k for r in m for k in r.theirs}))
        made = {k: t for r in rules for k, t in zip(r.ours, r.op.load([state[k] for k in r.theirs]), strict=True)}
        made |= {k: torch.zeros(t.shape) for k, t in model.state_dict().items() if not k.startswith("streams.")}
        model.load_state_dict(made, assign=True)
        assert not any(b.is_meta for b in model.buffers()), "a buffer that no state dict holds: build it in the usual way"
        return model

    @torch.no_grad()
    def want(self, dtype: torch.dtype = torch.float32) -> Answers:
        """The reference's answers, document by document."""
        reference = self.reference.to(dtype)
        with quiet(), own_precision(reference, dtype):
            each = [self.answer(reference, cast(raw, dtype)) for raw in self.raw]
        self.reference.float()
        return {task: torch.cat([answers[task] for answers in each]) for task in each[0]}

    def documents(self) -> list[Document]:
        return [self.document(raw).replace(name=f"document {i}") for i, raw in enumerate(self.raw)]

    @torch.no_grad()
    def got(self, model: Transformer, backend: str = "auto") -> Answers:
        """Our answers, packed."""
        batch = collate(self.documents(), model.schema)
        batch = batch.map(lambda x: x.to(next(model.parameters()).dtype) if x.dtype == torch.float64 else x)
        hidden = model.hidden(batch, backend=backend)
        out = {task: model.answer(hidden, ask) for task, ask in batch.asks.items()}
        for stream in self.hidden:
            parts = dict(zip(batch.names, hidden[stream].split(list(batch.streams[stream].layout.lengths)), strict=True))
            out[stream] = torch.cat([parts[f"document {i}"] for i in range(len(self.raw))])
        return out


class Double(types.ModuleType):
    """torch, where `torch.float32` is double precision."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def own_precision(reference: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """In double precision, the reference's own code without its casts to single precision (norms, softmax)."""
    files = {type(m).__module__ for m in reference.modules()} if dtype == torch.float64 else set()
    with ExitStack() as stack:
        for name in files:
            if name.startswith("transformers.models."):
                stack.enter_context(patch.object(sys.modules[name], "torch", Double("torch")))
        yield


def cast(raw: Any, dtype: torch.dtype) -> Any:
    """Floats of a raw document in another precision."""
    if isinstance(raw, tuple):
        return tuple(cast(x, dtype) for x in raw)
    return raw.to(dtype) if isinstance(raw, Tensor) and raw.is_floating_point() else raw


def distance(got: Answers, want: Answers) -> float:
    """The largest difference of any task, relative to the reference's largest answer."""
    assert got.keys() == want.keys()
    return max(float((got[t].double() - want[t].double()).abs().max() / want[t].double().abs().max()) for t in want)


def asked(head: str, rows: Tensor, stream: str = "main") -> Ask:
    """A question about these rows; `head` is "<stream>:<head>"."""
    return Ask(head, rows, torch.zeros(len(rows)), torch.ones(len(rows)), stream=stream)


def sentence(raw: Tensor, head: str = "main:tokens", task: str = "next") -> Document:
    """Ids of channel "text" in one stream, every row asked."""
    return Document({"main": TokenSequence((Span("text", raw),))}, {task: asked(head, torch.arange(len(raw)))})


Maker = Callable[[], Case]
CASES: dict[str, Maker] = {}
"""name -> maker; a name is the preset's, or "<preset>: <variation>" """
PUBLISHED: dict[str, Maker] = {}
"""name of the published model -> maker, at its size (above 150 million parameters: its widths, 2 layers, 4096 ids)"""
_FAMILIES = [m.name for m in pkgutil.iter_modules([__file__.rpartition("/")[0]]) if not m.name.startswith(("test_", "_", "case"))]


def case(name: str) -> Callable[[Maker], Maker]:
    """Register a small case."""
    return lambda make: CASES.setdefault(name, make)


def published(name: str) -> Callable[[Maker], Maker]:
    """Register a case at published size."""
    return lambda make: PUBLISHED.setdefault(name, make)


def load_families() -> None:
    """Import every file of cases beside this one."""
    for name in _FAMILIES:
        importlib.import_module(f"tests.laws.parity.{name}")
