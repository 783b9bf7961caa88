"""Every attention backend equals attention by its definition, and its gradients equal those of the reference backend."""

import pytest
import torch
from torch import Tensor

from omnitok.batch import Document, collate
from omnitok.errors import ConfigError
from omnitok.nn import backends
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.positions import Rope
from tests.laws import worlds
from tests.laws.attentions import CASES, DIM, DOCUMENTS, EDGES, HEADS, SCHEMA, applicable, equals_formula, made, run
from tests.laws.formula import formula
from tests.laws.laws import close


@pytest.mark.parametrize("name", CASES)
def test_every_backend_equals_the_formula(name):
    for backend in applicable(CASES[name]):
        equals_formula(name, backend)


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_those_of_dense(name):
    """Of the input and of every parameter, the bias tables among them, in double precision: some are zero by theory."""
    config, layout = CASES[name], collate(DOCUMENTS, SCHEMA).streams["main"].layout
    x = torch.randn(len(layout), DIM, generator=worlds.maker(1), dtype=torch.float64, requires_grad=True)
    pull = torch.randn(len(layout), DIM, generator=worlds.maker(2), dtype=torch.float64)

    def gradients(backend: str) -> list[Tensor]:
        module, tables = made(config, dtype=torch.float64)
        shared = {(p, HEADS, module.head_dim): t for p, t in tables.items()}
        out = module(x, Context(layout, None, shared, backend=backend))
        return list(
            torch.autograd.grad(out, [x, *module.parameters(), *(w for t in tables.values() for w in t.parameters())], pull)
        )

    want = gradients("dense")
    for backend in applicable(config)[1:]:
        for got, wanted in zip(gradients(backend), want, strict=True):
            close(got, wanted, f"a gradient of {name} by {backend}", 1e-10)


def two_streams() -> list[Document]:
    """Documents with memory, with an empty one, and with none at all."""
    g = worlds.maker(3)
    sizes = [(4, 3), (0, 2), (7, 5), (1, 1), (None, 4)]
    return [
        Document(({} if m is None else {"encoder": worlds.sound(m, g)}) | {"decoder": worlds.words(n, g)}, name=f"{m}-{n}")
        for m, n in sizes
    ]


@pytest.mark.parametrize(
    "config", [Attention(HEADS, source="memory"), Attention(HEADS, source="memory", kv_heads=2, memory_dim=9)]
)
def test_attention_to_a_memory(config):
    """Every backend that can equals the formula; a document without memory gets the output map's bias, not NaN."""
    schema = SCHEMA.__class__(SCHEMA.rules, SCHEMA.axes, (), SCHEMA.sets, {"encoder": "full", "decoder": None})
    documents, g = two_streams(), worlds.maker(4)
    streams = collate(documents, schema, sort=False).streams
    layout, keys = streams["decoder"].layout, streams["encoder"].layout
    x = torch.randn(len(layout), DIM, generator=g, requires_grad=True)
    memory = torch.randn(len(keys), config.memory_dim or DIM, generator=g, requires_grad=True)
    module, _ = made(config)
    want = formula(module, {}, x, memory, documents, schema, "decoder", "encoder")
    wanted = torch.autograd.grad(want.square().sum(), [x, memory])
    for backend in ("dense", "rows", "auto"):
        got = run(config, backend, x, layout, (memory, keys))
        close(got, want, f"memory by {backend}")
        for a, b in zip(torch.autograd.grad(got.square().sum(), [x, memory]), wanted, strict=True):
            close(a, b, f"a gradient through the memory by {backend}")
        bare = got[layout.segment == 1], got[layout.segment == 4]
        assert all(torch.allclose(b, module.o.bias.expand_as(b)) for b in bare)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("backend", ["dense", "split", "rows", "edges"])
def test_a_query_that_sees_nothing_gives_zero(backend, biased):
    """Nodes that no pair ends at, by every backend, forward and backward."""
    config = Attention(HEADS, over="edge", bias=False, positions=(EDGES,) if biased else ())
    g = worlds.maker(0)
    sequence = worlds.nodes(5, g)
    lonely = sequence.replace(pairs={"edge": (torch.tensor([[0, 0, 2], [1, 2, 0]]), torch.tensor([0, 1, 2]))})
    layout = collate([lonely, worlds.nodes(0, g), worlds.words(3, g)], SCHEMA, sort=False).streams["main"].layout
    x = torch.randn(8, DIM, generator=g, requires_grad=True)
    out = run(config, backend, x, layout)
    nothing = torch.tensor([False, True, False, True, True, True, True, True])
    assert (out[nothing] == 0).all() and (out[~nothing] != 0).any(1).all()
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert gradient.isfinite().all() and (gradient[3:] == 0).all()


def test_backends_refuse_what_they_cannot_compute():
    layout = collate(DOCUMENTS, SCHEMA).streams["main"].layout
    x = torch.zeros(len(layout), DIM)
    with pytest.raises(ConfigError, match="did you mean 'dense'"):
        run(CASES["plain"], "dens", x, layout)
    with pytest.raises(ConfigError, match="set `over` to a pair name"):
        run(CASES["plain"], "edges", x, layout)
    with pytest.raises(ConfigError, match="varlen backend is for plain causal or full"):
        run(CASES["window"], "varlen", x, layout)
    with pytest.raises(ConfigError, match="flex backend takes the rule"):
        run(CASES["pair biases"], "flex", x, layout)
    other = collate(DOCUMENTS[:2], SCHEMA).streams["main"].layout
    with pytest.raises(ConfigError, match="split backend is for self-attention"):
        run(Attention(HEADS, source="memory"), "split", x, layout, (torch.zeros(len(other), DIM), other))


def one_rule() -> list[Document]:
    """Documents that are causal throughout or full throughout, in turns."""
    g = worlds.maker(5)
    makers = [worlds.words, worlds.patches, worlds.words, worlds.cart, worlds.sound, worlds.words]
    return [
        Document({"main": make(n, g)}, name=f"{i}") for i, (make, n) in enumerate(zip(makers, [5, 4, 5, 3, 4, 1], strict=True))
    ]


@pytest.mark.parametrize("sort", [True, False])
def test_varlen_hands_the_kernel_the_right_documents(sort, monkeypatch):
    """The kernel itself needs a GPU; a stand-in that attends document by document shows what it is called with."""

    def kernel(q, k, v, cq, ck, longest_q, longest_k, causal, scale):
        assert longest_q == longest_k == int(cq.diff().max()) and torch.equal(cq, ck)
        out = []
        for a, b in zip(cq.tolist(), cq.tolist()[1:], strict=False):
            three = (t[a:b].transpose(0, 1) for t in (q, k, v))
            out.append(torch.nn.functional.scaled_dot_product_attention(*three, is_causal=causal, scale=scale).transpose(0, 1))
        return torch.cat(out)

    monkeypatch.setattr(backends, "_varlen_call", lambda: kernel)
    layout = collate(one_rule(), SCHEMA, sort=sort).streams["main"].layout
    x = torch.randn(len(layout), DIM, generator=worlds.maker(6))
    for name in ("plain", "grouped heads", "rotary"):
        close(run(CASES[name], "varlen", x, layout), run(CASES[name], "dense", x, layout), name)


@pytest.mark.slow  # importing its compiler takes ten seconds
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", ["plain", "grouped heads", "rotary", "window", "window on an axis"])
def test_flex_forward_equals_dense(name):
    layout = collate(DOCUMENTS, SCHEMA).streams["main"].layout
    x = torch.randn(len(layout), DIM, generator=worlds.maker(6))
    with torch.no_grad():
        close(run(CASES[name], "flex", x, layout), run(CASES[name], "dense", x, layout), name)


GPU_CASES = {
    "plain": Attention(HEADS),
    "rotary, grouped heads": Attention(HEADS, kv_heads=2, positions=(Rope(),)),
    "window": Attention(HEADS, window=20),
}


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
@pytest.mark.parametrize("name", GPU_CASES)
@pytest.mark.parametrize("backend", ["varlen", "flex"])
def test_gpu_kernels_equal_split(backend, name, dtype):
    """Forward and backward against `split` in double precision; varlen takes half precision and no window."""
    if backend == "varlen" and (name == "window" or dtype == torch.float32):
        pytest.skip("varlen takes half precision and the plain rule only")
    g, config = worlds.maker(7), GPU_CASES[name].replace(head_dim=64)
    sizes = [130, 1, 64, 64, 300, 17]
    makers = [worlds.words, worlds.patches, worlds.sound] * 2
    documents = [Document({"main": make(n, g)}, name=f"{i}") for i, (make, n) in enumerate(zip(makers, sizes, strict=True))]
    layout = collate(documents, SCHEMA).streams["main"].layout
    x, pull = (torch.randn(len(layout), DIM, generator=g) for _ in range(2))
    module, tables = made(config)

    def both(backend: str, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        shared = {(p, HEADS, 64): t.to(device) for p, t in tables.items()}
        at = x.detach().to(device, dtype).requires_grad_()
        out = module.to(device, dtype)(at, Context(layout.to(device), None, shared, backend=backend))
        return out, torch.autograd.grad(out, at, pull.to(device, dtype))[0]

    want = both("split", "cpu", torch.float64)
    got = both(backend, "cuda", dtype)
    for a, b in zip(got, want, strict=True):
        close(a.detach().cpu().double(), b.detach(), f"{name} by {backend}", 3e-2 if dtype == torch.bfloat16 else 1e-4)
