"""Experts: who goes where, what has no room, and the losses of routers against the libraries' and the papers' formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError
from omnitok.generate import Session
from omnitok.model import Model, Stream
from omnitok.nn.context import Context
from omnitok.nn.experts import MoE, Routing, rank
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from omnitok.nn.routing import Balance, DocumentBalance, GlobalEntropy, Importance, Load, LocalEntropy, RouterZ
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel

DIM, EXPERTS = 8, 4
LENGTHS = (5, 1, 7, 3)
CHANNELS = {"words": Channel(vocab=11)}
PLAIN = MoE(EXPERTS, MLP(6), 2)
FULL = {"capacity_factor": 0.5, "priority": "probability"}
KINDS = {
    "all": PLAIN,
    "renormalised, gated": MoE(EXPERTS, MLP(6, gated=True, bias=False), 3, renormalise=True),
    "two places": MoE(EXPERTS, MLP(6), 2, capacity=2),
    "a share": MoE(EXPERTS, MLP(6), 1, capacity_factor=0.8),
    "the surest": MoE(EXPERTS, MLP(6), 2, capacity=2, priority="probability"),
    "the surest of a share": MoE(EXPERTS, MLP(6), 2, **FULL),
}


def layout_of(lengths=LENGTHS):
    documents = [TokenSequence((Span("words", torch.zeros(n, dtype=torch.long)),)) for n in lengths]
    model = build(Model({"main": Stream(DIM, attend="full")}), CHANNELS)
    return collate(documents, model.schema, sort=False).streams["main"].layout


def made(config: MoE):
    torch.manual_seed(0)
    module = config.build(DIM).double().eval()
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.7)
    return module


def by_hand(module, x: Tensor, lengths=LENGTHS) -> Tensor:
    """Token by token and expert by expert, with room counted in lists."""
    c, out, at = module.config, torch.zeros_like(x), 0
    for n in lengths:
        rows = range(at, at + n)
        room = [10**9] * EXPERTS
        if c.capacity is not None or c.capacity_factor is not None:
            room = [c.capacity or math.ceil(c.capacity_factor * c.top_k * n / EXPERTS)] * EXPERTS
        probability = {t: module.router(x[t]).softmax(0) for t in rows}
        chosen = {t: probability[t].topk(c.top_k).indices.tolist() for t in rows}
        turns = [(t, k) for t in rows for k in range(c.top_k)]
        if c.priority == "probability":
            surest = sorted(rows, key=lambda t: -float(probability[t].max()))
            turns = [(t, k) for k in range(c.top_k) for t in surest]
        for t, k in turns:
            expert = chosen[t][k]
            weight = probability[t][expert]
            weight = weight / probability[t][chosen[t]].sum() if c.renormalise else weight
            if room[expert] > 0:
                out[t] += weight * one_expert(module, expert, x[t])
            room[expert] -= 1
        at += n
    return out


def one_expert(module, i: int, x: Tensor) -> Tensor:
    def linear(m, y):
        return m.weight[i] @ y + (m.bias[i] if m.bias is not None else 0)

    y = linear(module.up, x)
    y = F.gelu(y) if module.gate is None else F.gelu(linear(module.gate, x)) * y
    return linear(module.down, y)


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_gets_what_its_experts_give(kind: str) -> None:
    module, x = made(KINDS[kind]), torch.randn(sum(LENGTHS), DIM, dtype=torch.float64)
    with torch.no_grad():
        got, want = module(x, Context(layout_of())), by_hand(module, x)
        torch.testing.assert_close(got, want)
        free = module.config.capacity is None and module.config.capacity_factor is None
        everything = made(module.config.replace(capacity=None, capacity_factor=None, priority="order"))
        assert torch.allclose(got, everything(x, Context(layout_of()))) == free, "the limit is met"


@pytest.mark.parametrize("kind", KINDS)
def test_packed_is_alone_for_experts(kind: str) -> None:
    module, x = made(KINDS[kind]), torch.randn(sum(LENGTHS), DIM, dtype=torch.float64)
    together = module(x, Context(layout_of())).split(LENGTHS)
    for n, part, got in zip(LENGTHS, x.split(LENGTHS), together, strict=True):
        torch.testing.assert_close(got, module(part, Context(layout_of((n,)))))


def test_ranks_count_earlier_members_of_a_group() -> None:
    assert rank(torch.tensor([2, 0, 2, 2, 0, 1])).tolist() == [0, 0, 1, 2, 1, 0]
    assert rank(torch.zeros(0, dtype=torch.long)).tolist() == []


def test_no_tokens_are_no_trouble() -> None:
    for config in KINDS.values():
        assert made(config)(torch.zeros(0, DIM, dtype=torch.float64), Context(layout_of(()))).shape == (0, DIM)


def test_noise_and_jitter_act_in_training_only() -> None:
    x, layout = torch.randn(sum(LENGTHS), DIM, dtype=torch.float64), layout_of()
    plain = made(PLAIN)(x, Context(layout))
    for field in ("noise", "jitter"):
        module = made(PLAIN.replace(**{field: 0.9}))
        assert torch.equal(module(x, Context(layout)), plain)
        module.train()
        assert not torch.allclose(module(x, Context(layout)), plain)


def test_routers_choose_in_single_precision_under_autocast() -> None:
    """The same experts as without it; outputs as exact as the MLPs are, and gradients arrive."""
    model = model_of(MoE(EXPERTS, MLP(6), 2), losses=(Balance(),))
    batch = collate([words(30, 1)], model.schema)
    x = torch.randn(30, DIM)
    module, layout = model.streams["main"].blocks[0]["mlp"].mixer, batch.streams["main"].layout
    plain, cast = Context(layout, notes=[]), Context(layout, notes=[])
    want = module(x, plain)
    with torch.autocast("cpu", torch.bfloat16):
        got = module(x, cast)
        extra: list[Tensor] = []
        model(batch, extra=extra)
    assert torch.equal(cast.notes[0].logits, plain.notes[0].logits) and got.dtype == torch.float32
    torch.testing.assert_close(got, want, atol=0.02 * float(want.detach().abs().max()), rtol=0)
    (got.sum() + extra[0]).backward()
    assert module.up.weight.grad is not None and module.up.weight.grad.dtype == torch.float32


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot go to 5 of 4 experts"):
        MoE(4, MLP(6), 5).build(DIM)
    with pytest.raises(ConfigError, match="either a `capacity` or a `capacity_factor`"):
        MoE(4, MLP(6), capacity=2, capacity_factor=1.0).build(DIM)
    with pytest.raises(ConfigError, match="MoE, which looks at later tokens"):
        model_of(MoE(4, MLP(6), 1, **FULL), attend="causal")


def model_of(moe: MoE, **stream):
    torch.manual_seed(0)
    block = (Residual("mlp", moe, pre=Norm()),)
    return build(Model({"main": Stream(DIM, (block, block), **stream)}), CHANNELS).eval()


def words(n: int, seed: int) -> TokenSequence:
    return TokenSequence((Span("words", torch.randint(11, (n,), generator=torch.Generator().manual_seed(seed))),))


def test_decoding_counts_the_room_that_earlier_tokens_took() -> None:
    """Also after documents were dropped and doubled."""
    model = model_of(MoE(2, MLP(6), 2, capacity=2), attend="causal")
    starts, more = [words(3, 1), words(1, 2)], [words(2, 3), words(4, 4)]
    session = Session(model, 2).feed(starts).select([1, 0]).feed([words(1, 5), None]).feed(more)
    wholes = [starts[1] + words(1, 5) + more[0], starts[0] + more[1]]
    for i, whole in enumerate(wholes):
        hidden = model.hidden(collate([whole], model.schema))["main"]
        torch.testing.assert_close(session.last[i], hidden[-1])


# -- losses


def routings(layers: int = 3, tokens: int = sum(LENGTHS), top_k: int = 2, noise: float = 0.0) -> list[Routing]:
    g = torch.Generator().manual_seed(4)
    out = []
    for _ in range(layers):
        logits = 2 * torch.randn(tokens, EXPERTS, generator=g)
        noisy = logits + noise * torch.randn(logits.shape, generator=g)
        out.append(Routing(logits, noisy.topk(top_k).indices, noisy if noise else None, noise))
    return out


def test_even_use_is_the_least_balance() -> None:
    """1 for each expert that a token goes to; experts times that where all go to one."""
    even = torch.eye(EXPERTS).repeat(3, 1) * 1e-3
    one = torch.tensor([[50.0, 0, 0, 0]]).expand(12, -1)
    for loss in (Balance(), DocumentBalance()):
        for logits, want in ((even, 1.0), (one, float(EXPERTS))):
            found = Routing(logits, logits.topk(1).indices)
            assert float(loss.value([found, found], layout_of((12,)))) == pytest.approx(want, abs=1e-3)


@pytest.mark.slow
def test_balance_is_mixtrals() -> None:
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral", exc_type=ImportError)
    found = routings()
    want = mixtral.load_balancing_loss_func(tuple(r.logits for r in found), EXPERTS, 2)
    torch.testing.assert_close(Balance().value(found, layout_of()), want)


@pytest.mark.slow
def test_document_balance_and_z_are_switchs() -> None:
    switch = pytest.importorskip("transformers.models.switch_transformers.modeling_switch_transformers", exc_type=ImportError)
    lengths = (4, 4, 4)
    found = routings(2, 12, 1)
    logits = torch.cat([r.logits.view(3, 4, EXPERTS) for r in found], 1)  # as the reference joins layers
    want = switch.load_balancing_loss_func(logits.softmax(-1), logits.argmax(-1))
    torch.testing.assert_close(DocumentBalance().value(found, layout_of(lengths)), want)
    torch.testing.assert_close(RouterZ().value(found, layout_of(lengths)), switch.router_z_loss_func(logits))


def test_document_balance_of_a_batch_is_the_mean_over_its_tokens() -> None:
    found = routings()
    whole = DocumentBalance().value(found, layout_of())
    each, at = 0.0, 0
    for n in LENGTHS:
        part = [Routing(r.logits[at : at + n], r.chosen[at : at + n]) for r in found]
        each += n * DocumentBalance().value(part, layout_of((n,)))
        at += n
    torch.testing.assert_close(whole, each / sum(LENGTHS))


@pytest.mark.parametrize("loss", [Balance(), RouterZ(), Importance(), LocalEntropy(), GlobalEntropy(threshold=1.3)])
def test_losses_do_not_see_where_documents_end(loss) -> None:
    found = routings()
    torch.testing.assert_close(loss.value(found, layout_of()), loss.value(found, layout_of((9, 7))))


def test_importance_and_load_are_v_moes() -> None:
    """arXiv 2106.05974, appendix A: squared coefficients of variation, of summed probabilities and of expected loads."""
    found, importance, load = routings(noise=0.25), [], []
    normal = torch.distributions.Normal(0.0, 0.25)
    for r in found:
        total = sum(torch.softmax(r.logits[i], 0) for i in range(len(r.logits)))
        importance.append((total.std(unbiased=False) / total.mean()) ** 2)
        chance = torch.zeros(EXPERTS)
        for i in range(len(r.logits)):
            least = r.noisy[i].sort(descending=True).values[1]
            chance += 1 - normal.cdf(least - r.logits[i])
        load.append((chance.std(unbiased=False) / chance.mean()) ** 2)
    torch.testing.assert_close(Importance().value(found, layout_of()), torch.stack(importance).mean())
    torch.testing.assert_close(Load().value(found, layout_of()), torch.stack(load).mean())
    with pytest.raises(ConfigError, match="needs the noise of training"):
        Load().value(routings(), layout_of())


def test_entropies_are_limoes() -> None:
    """arXiv 2206.02770, section 2: mean entropy of the choices; max(0, threshold - entropy of the mean choice)."""
    found, local, spread = routings(), [], []
    for r in found:
        p = r.logits.softmax(-1)
        local.append(sum(-sum(q * math.log(q) for q in row.tolist()) for row in p) / len(p))
        mean = p.mean(0).tolist()
        spread.append(-sum(q * math.log(q) for q in mean))
    assert float(LocalEntropy().value(found, layout_of())) == pytest.approx(sum(local) / 3, rel=1e-5)
    for threshold in (0.5, max(spread) - 0.01, 1.38):
        want = sum(max(0.0, threshold - h) for h in spread) / 3
        assert float(GlobalEntropy(threshold=threshold).value(found, layout_of())) == pytest.approx(want, rel=1e-4, abs=1e-6)


ALL = (
    Balance(),
    DocumentBalance(),
    RouterZ(),
    Importance(),
    Load(),
    LocalEntropy(),
    GlobalEntropy(threshold=math.log(EXPERTS)),
)


@pytest.mark.parametrize("loss", ALL, ids=lambda x: type(x).__name__)
def test_losses_reach_every_router(loss) -> None:
    model = model_of(MoE(EXPERTS, MLP(6), 2, noise=1.0), losses=(loss,)).train()
    extra: list[Tensor] = []
    model(collate([words(5, 0), words(3, 1)], model.schema), extra=extra)
    extra[0].backward()
    routers = {n: p.grad for n, p in model.named_parameters() if "router" in n}
    assert len(extra) == 1 and len(routers) == 2
    assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in routers.values())


@pytest.mark.parametrize("loss", ALL, ids=lambda x: type(x).__name__)
def test_a_stream_without_tokens_costs_nothing(loss) -> None:
    assert float(loss.value(routings(tokens=0), layout_of(()))) == 0


def test_a_loss_of_routers_needs_one() -> None:
    with pytest.raises(ConfigError, match="its stream has none"):
        Balance().value([], layout_of())


def test_streams_alike_have_losses_of_their_own() -> None:
    moe = MoE(EXPERTS, MLP(6), 1)
    one = Stream(DIM, ((Residual("mlp", moe, pre=Norm()),),), attend="full", losses=(LocalEntropy(),))
    model = build(Model({"one": one, "two": Stream(DIM, like="one", attend="full", losses=(RouterZ(2.0),))}), CHANNELS)
    extra: list[Tensor] = []
    batch = collate([Document({"one": words(5, 0), "two": words(4, 1)})], model.schema)
    model(batch, extra=extra)
    notes: list[Routing] = []
    module = model.stream("one")
    for name, loss in (("one", LocalEntropy()), ("two", RouterZ())):
        ctx = Context(batch.streams[name].layout, notes=[])
        module(model.embed(batch.streams[name], name, ctx.layout, ctx), ctx)
        notes.append(loss.value(ctx.notes, ctx.layout))
    torch.testing.assert_close(torch.stack(extra), torch.stack([notes[0], 2 * notes[1]]))
