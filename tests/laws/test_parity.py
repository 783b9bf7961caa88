"""Law: a preset with a reference's weights gives the reference's outputs, and gives its weights back.

Every parameter of the reference is randomised (initialisers hide wrong maps behind zeros and ones), our documents are
packed, and the reference runs them one by one. Committed wrong settings must fail, so the tolerance is proven to bite.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Ask, Document, collate
from omnitok.errors import CheckpointError
from omnitok.generate import Session
from omnitok.model import CONTROL, Model, Transformer, build
from omnitok.nn.steps import Axis, Linear
from omnitok.presets.reference.bert import BERT
from omnitok.presets.reference.gpt2 import GPT2
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.weights import Reference, export_weights, import_weights

pytestmark = pytest.mark.slow

VOCAB, DIM, DEPTH, HEADS, HIDDEN = 61, 48, 3, 4, 96
LENGTHS = (7, 12, 5)
FP32, FP64 = 1e-5, 1e-10
SMALL = {"dim": DIM, "depth": DEPTH, "heads": HEADS}


@contextmanager
def quiet() -> Iterator[None]:
    """The references' own warnings are not ours to fix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def library(name: str) -> Any:
    with quiet():
        return pytest.importorskip(name, reason="needs the extra `parity`", exc_type=ImportError)


def maker(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ids(n: int, seed: int) -> Tensor:
    return torch.randint(1, VOCAB, (n,), generator=maker(seed))


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Noise on every parameter and running statistic."""
    g = maker(seed)
    for p in module.parameters():
        p.add_(torch.randn(p.shape, generator=g) * (0.3 if p.dim() < 2 else 0.5 / p.shape[-1] ** 0.5))
    for name, b in module.named_buffers():
        if name.endswith("running_mean"):
            b.copy_(torch.randn(b.shape, generator=g) * 0.3)
        if name.endswith("running_var"):
            b.copy_(torch.rand(b.shape, generator=g) + 0.5)
    return module.eval()


@dataclass
class Case:
    """A reference, our preset for it, and documents that both can read."""

    reference: nn.Module
    preset: Reference
    channels: dict[str, Channel]
    heads: tuple[str, ...]
    raw: list[Any]
    document: Callable[[Any], Document]
    answer: Callable[[nn.Module, Any], dict[str, Tensor]]
    """the reference's answers by task, for one raw document"""
    unread: tuple[str, ...] = ()
    """their tensors that the reference itself never reads"""

    def build(self, preset: Reference | None = None) -> Transformer:
        heads = {name: (Linear(1),) for name in self.heads}
        return build(preset or self.preset, self.channels, heads, ("label",)).eval()

    @torch.no_grad()
    def want(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        reference = self.reference.to(dtype)
        each = [self.answer(reference, _to(raw, dtype)) for raw in self.raw]
        return {task: torch.cat([answers[task] for answers in each]) for task in each[0]}

    @torch.no_grad()
    def got(self, model: Transformer, backend: str = "auto") -> dict[str, Tensor]:
        return model(collate([self.document(raw) for raw in self.raw], model.schema), backend=backend)


def _to(raw: Any, dtype: torch.dtype) -> Any:
    if isinstance(raw, tuple):
        return tuple(_to(x, dtype) for x in raw)
    return raw.to(dtype) if raw.is_floating_point() else raw


def asked(head: str, rows: Tensor) -> Ask:
    return Ask(head, rows, torch.zeros(len(rows)), torch.ones(len(rows)))


def gpt2() -> Case:
    hf = library("transformers")
    config = hf.GPT2Config(
        vocab_size=VOCAB, n_embd=DIM, n_layer=DEPTH, n_head=HEADS, n_positions=40, bos_token_id=0, eos_token_id=None
    )
    return Case(
        randomise(hf.GPT2LMHeadModel(config)),
        presets.gpt2(**SMALL, positions=40),
        {"text": Channel(vocab=VOCAB)},
        ("text",),
        [ids(n, n) for n in LENGTHS],
        lambda raw: Document({"main": TokenSequence((Span("text", raw),))}, {"next": asked("text", torch.arange(len(raw)))}),
        lambda reference, raw: {"next": reference(raw[None]).logits[0]},
    )


def bert() -> Case:
    hf = library("transformers")
    config = hf.BertConfig(
        vocab_size=VOCAB,
        hidden_size=DIM,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        max_position_embeddings=40,
    )

    def document(raw: tuple[Tensor, Tensor]) -> Document:
        axes = {"type": raw[1]} if bool(raw[1].any()) else {}  # without the axis, every token is of the first type
        sequence = TokenSequence((Span("text", raw[0], axes=axes),))
        return Document({"main": sequence}, {"masked": asked("text/masked", torch.arange(len(sequence)))})

    return Case(
        randomise(hf.BertForMaskedLM(config)),
        presets.bert(**SMALL, hidden=HIDDEN, positions=40),
        {"text": Channel(vocab=VOCAB)},
        ("text/masked",),
        [(ids(n, n), torch.arange(n) // 3 % 2 * (n != LENGTHS[0])) for n in LENGTHS],
        document,
        lambda reference, raw: {"masked": reference(raw[0][None], token_type_ids=raw[1][None]).logits[0]},
    )


def vit() -> Case:
    timm = library("timm")
    reference = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, num_classes=7
    )

    def document(pixels: Tensor) -> Document:
        raw = pixels * 64 + 127
        patches = raw.view(3, 4, 8, 4, 8).permute(1, 3, 0, 2, 4).reshape(16, 192)
        sequence = TokenSequence((Span(CONTROL, torch.tensor([1])), Span("image", features=patches)))
        return Document({"main": sequence}, {"label": asked(CONTROL, torch.tensor([0]))})

    return Case(
        randomise(reference),
        presets.vit(**SMALL, patch=(3, 8, 8), patches=16, classes=7),
        {"image": Channel(width=(192,), mean=127.0, std=64.0)},
        (CONTROL,),
        [torch.randn(3, 32, 32, generator=maker(i), dtype=torch.float64) for i in range(3)],
        document,
        lambda reference, pixels: {"label": reference(pixels[None])},
    )


def decision() -> Case:
    hf = library("transformers")
    with quiet():
        config = hf.DecisionTransformerConfig(
            hidden_size=DIM,
            n_layer=DEPTH,
            n_head=HEADS,
            state_dim=5,
            act_dim=3,
            max_ep_len=30,
            n_positions=60,
            bos_token_id=0,
            eos_token_id=0,
        )
    reference = randomise(hf.DecisionTransformerModel(config))
    names = {"condition": "robot/goal", "observation": "robot/observation", "action": "robot/action"}
    width = {"condition": 1, "observation": 5, "action": 3}
    mean, std = 0.5, 2.0

    def raw(n: int) -> tuple[Tensor, ...]:
        g = maker(n)
        parts = [torch.randn(n, w, generator=g, dtype=torch.float64) for w in width.values()]
        return (*parts, torch.arange(4, 4 + n))

    def document(raw: tuple[Tensor, ...]) -> Document:
        k = torch.arange(len(raw[3]))
        spans = [
            Span(c, features=x * std + mean, axes={"step": raw[3]}, index=3 * k + j)
            for j, (c, x) in enumerate(zip(names.values(), raw[:3], strict=True))
        ]
        rows = {"condition": 3 * k + 2, "observation": 3 * k + 2, "action": 3 * k + 1}
        return Document({"main": TokenSequence(tuple(spans))}, {r: asked(names[r], at) for r, at in rows.items()})

    def answer(reference: nn.Module, raw: tuple[Tensor, ...]) -> dict[str, Tensor]:
        goal, state, action, step = (x[None] for x in raw)
        out = reference(states=state, actions=action, returns_to_go=goal, rewards=None, timesteps=step)
        # the preset bounds the action in raw units and answers in the channel's normalised ones
        return {"condition": out.return_preds[0], "observation": out.state_preds[0], "action": (out.action_preds[0] - mean) / std}

    channels = {c: Channel(width=(width[r],), mean=mean, std=std, axes=(Axis("step", 30),)) for r, c in names.items()}
    preset = presets.decision_transformer(**SMALL, steps=30, positions=60)
    return Case(
        reference,
        preset,
        channels,
        tuple(names.values()),
        [raw(n) for n in LENGTHS],
        document,
        answer,
        unread=("encoder.wte.weight",),
    )


CASES = {"gpt2": gpt2, "bert": bert, "vit": vit, "decision-transformer": decision}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def distance(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    """The largest difference of any task, relative to the reference's largest answer."""
    assert got.keys() == want.keys()
    return max(float((got[t] - want[t]).abs().max() / want[t].abs().max()) for t in want)


@pytest.mark.parametrize("backend", ["split", "rows", "dense"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, FP32), (torch.float64, FP64)], ids=["fp32", "fp64"])
def test_packed_documents_give_the_references_outputs(
    case: Case, dtype: torch.dtype, tolerance: float, backend: str, record_property: Any
) -> None:
    model = case.build().to(dtype)
    want = case.want(dtype)
    import_weights(model, case.reference.state_dict())
    error = distance(case.got(model, backend), want)
    record_property("relative_error", error)
    assert error <= tolerance


def test_weights_come_back_bit_by_bit(case: Case) -> None:
    case.reference.float()
    state = {k: v.clone() for k, v in case.reference.state_dict().items()}
    model = case.build()
    import_weights(model, state)
    back = export_weights(model)
    assert back.keys() == state.keys()
    assert [k for k in state if k not in case.unread and not torch.equal(back[k], state[k])] == []
    want = case.want()
    randomise(case.reference, seed=1)
    case.reference.load_state_dict(back)
    again = case.want()
    assert all(torch.equal(again[t], want[t]) for t in want)
    case.reference.load_state_dict(state)


class FullGPT2(GPT2, frozen=True):
    """Wrong on purpose: every token sees the whole document."""

    def model(self, *args: Any) -> Model:
        return _edited(super().model(*args), attend="full")


class PostNormGPT2(GPT2, frozen=True):
    """Wrong on purpose: norms behind the sum."""

    def model(self, *args: Any) -> Model:
        config = super().model(*args)
        blocks = tuple(tuple(r.replace(pre=None, post=r.pre) for r in b) for b in config.streams["main"].blocks)
        return _edited(config, blocks=blocks)


class PreNormBERT(BERT, frozen=True):
    """Wrong on purpose: norms in front of the mixers."""

    def model(self, *args: Any) -> Model:
        config = super().model(*args)
        blocks = tuple(tuple(r.replace(pre=r.post, post=None) for r in b) for b in config.streams["main"].blocks)
        return _edited(config, blocks=blocks)


class UnscaledGPT2(GPT2, frozen=True):
    """Wrong on purpose: no 1 / sqrt(head_dim)."""

    def model(self, *args: Any) -> Model:
        config = super().model(*args)
        blocks = tuple((b[0].replace(mixer=b[0].mixer.replace(scale=1.0)), *b[1:]) for b in config.streams["main"].blocks)
        return _edited(config, blocks=blocks)


def _edited(config: Model, **changes: Any) -> Model:
    return config.replace(streams={n: s.replace(**changes) for n, s in config.streams.items()})


WRONG: dict[str, tuple[str, Callable[[Any], Reference]]] = {
    "gpt2: erf gelu": ("gpt2", lambda p: p.replace(act="gelu")),
    "gpt2: eps 1e-6": ("gpt2", lambda p: p.replace(eps=1e-6)),
    "gpt2: causal model fed full": ("gpt2", lambda p: FullGPT2(**SMALL, positions=40)),
    "gpt2: scores not scaled": ("gpt2", lambda p: UnscaledGPT2(**SMALL, positions=40)),
    "bert: tanh gelu": ("bert", lambda p: p.replace(act="gelu_tanh")),
    "bert: eps 1e-5": ("bert", lambda p: p.replace(eps=1e-5)),
    "vit: tanh gelu": ("vit", lambda p: p.replace(act="gelu_tanh")),
    "vit: eps 1e-5": ("vit", lambda p: p.replace(eps=1e-5)),
    "decision-transformer: gelu": ("decision-transformer", lambda p: p.replace(act="gelu")),
    "decision-transformer: unbounded": ("decision-transformer", lambda p: p.replace(tanh=False)),
    "decision-transformer: eps 1e-6": ("decision-transformer", lambda p: p.replace(eps=1e-6)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_is_seen(wrong: str) -> None:
    name, edit = WRONG[wrong]
    case = CASES[name]()
    model = case.build(edit(case.preset))
    import_weights(model, case.reference.state_dict())
    assert distance(case.got(model), case.want()) > FP32


@pytest.mark.parametrize(("name", "wrong"), [("gpt2", PostNormGPT2), ("bert", PreNormBERT)])
def test_norms_in_the_wrong_place_are_refused(name: str, wrong: type[Reference]) -> None:
    case = CASES[name]()
    model = case.build(wrong(**{f: getattr(case.preset, f) for f in case.preset.__struct_fields__}))
    with pytest.raises(CheckpointError, match="differ in"):
        import_weights(model, case.reference.state_dict())


def test_greedy_generation_is_the_references() -> None:
    case = CASES["gpt2"]()
    with torch.no_grad():  # without this, one token wins everywhere
        for name, parameter in case.reference.named_parameters():
            if name.endswith("bias"):
                parameter.mul_(0.3)
        case.reference.transformer.wpe.weight.mul_(8)
    model = case.build()
    import_weights(model, case.reference.state_dict())
    session = Session(model, documents=len(LENGTHS))
    session.feed([TokenSequence((Span("text", prompt),)) for prompt in case.raw])
    made = []
    for _ in range(16):
        best = session.ask("text").argmax(-1)
        made.append(best)
        session.feed([TokenSequence((Span("text", token[None]),)) for token in best])
    got = torch.stack(made, 1)
    assert min(len(set(tokens)) for tokens in got.tolist()) > 4
    with quiet():
        for prompt, tokens in zip(case.raw, got, strict=True):
            want = case.reference.generate(prompt[None], max_new_tokens=16, do_sample=False, pad_token_id=0)[0, len(prompt) :]
            assert tokens.tolist() == want.tolist()
