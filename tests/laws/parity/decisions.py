"""Parity cases: the Decision Transformer."""

import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Document
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, LENGTHS, SMALL, Answers, Case, asked, case, library, noise, published
from tests.laws.parity.wrong import post_norm

NAMES = {"condition": "robot/goal", "observation": "robot/observation", "action": "robot/action"}
WIDTH = {"condition": 1, "observation": 5, "action": 3}
MEAN, STD = 0.5, 2.0


def episode(n: int) -> tuple[Tensor, ...]:
    return (*(noise(n, w, seed=n + i) for i, w in enumerate(WIDTH.values())), torch.arange(4, 4 + n))


def document(raw: tuple[Tensor, ...]) -> Document:
    k = torch.arange(len(raw[3]))
    spans = [
        Span(c, features=x * STD + MEAN, axes={"step": raw[3]}, index=3 * k + j)
        for j, (c, x) in enumerate(zip(NAMES.values(), raw[:3], strict=True))
    ]
    rows = {"condition": 3 * k + 2, "observation": 3 * k + 2, "action": 3 * k + 1}
    return Document({"main": TokenSequence(tuple(spans))}, {r: asked(f"main:{r}", at) for r, at in rows.items()})


def answer(reference: nn.Module, raw: tuple[Tensor, ...]) -> Answers:
    goal, state, action, step = (x[None] for x in raw)
    out = reference(states=state, actions=action, returns_to_go=goal, rewards=None, timesteps=step)
    return {"condition": out.return_preds[0], "observation": out.state_preds[0], "action": out.action_preds[0]}


def deciding_model(preset, wrong=None, **config) -> Case:
    hf = library("transformers")
    settings = hf.DecisionTransformerConfig(
        **config, state_dim=5, act_dim=3, max_ep_len=preset.steps, bos_token_id=0, eos_token_id=0
    )
    axes = (Axis("step", preset.steps),)
    return Case(
        lambda: hf.DecisionTransformerModel(settings),
        preset,
        {c: Channel(width=(WIDTH[r],), mean=MEAN, std=STD, axes=axes) for r, c in NAMES.items()},
        [episode(n) for n in LENGTHS],
        document,
        answer,
        roles=NAMES,
        steps=True,
        wrong=wrong or {},
        note="transformers.DecisionTransformerModel",
    )


@case("decision-transformer")
def decision_transformer() -> Case:
    return deciding_model(
        presets.decision_transformer(**SMALL, steps=30, positions=60),
        {
            "gelu": lambda p: p.replace(act="gelu"),
            "unbounded": lambda p: p.replace(tanh=False),
            "eps 1e-4": lambda p: p.replace(eps=1e-4),
            "norms behind the sums": post_norm,
        },
        hidden_size=DIM,
        n_layer=DEPTH,
        n_head=HEADS,
        n_positions=60,
    )


@case("decision-transformer: unbounded, tanh gelu")
def decision_transformer_unbounded() -> Case:
    preset = presets.decision_transformer(**SMALL, steps=30, positions=60, spare=7, act="gelu_tanh", tanh=False, eps=1e-3)
    more = {"vocab_size": 7, "activation_function": "gelu_new", "action_tanh": False, "layer_norm_epsilon": 1e-3}
    return deciding_model(preset, hidden_size=DIM, n_layer=DEPTH, n_head=HEADS, n_positions=60, **more)


@published("decision-transformer-gym-hopper")
def hopper() -> Case:
    case = deciding_model(presets.decision_transformer())
    case.unread = ("encoder.wte.weight",)  # kept, and no parameter
    return case


@published("decision-transformer-atari-breakout")
def breakout() -> Case:
    fields = presets.decision_transformer.published["decision-transformer-atari-breakout"].fields
    case = deciding_model(presets.decision_transformer(**fields), n_layer=6, n_head=8, activation_function="gelu")
    case.unread = ("encoder.wte.weight",)  # kept, and no parameter
    return case
