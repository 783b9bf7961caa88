"""Parity cases: the Decision Transformer."""

import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Document
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, LENGTHS, SMALL, Answers, Case, asked, case, library, noise

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
    # the preset bounds the action in raw units and answers in the channel's normalised ones
    return {"condition": out.return_preds[0], "observation": out.state_preds[0], "action": (out.action_preds[0] - MEAN) / STD}


@case("decision-transformer")
def decision_transformer() -> Case:
    hf = library("transformers")
    config = {"hidden_size": DIM, "n_layer": DEPTH, "n_head": HEADS, "state_dim": 5, "act_dim": 3, "max_ep_len": 30}
    return Case(
        lambda: hf.DecisionTransformerModel(
            hf.DecisionTransformerConfig(**config, n_positions=60, bos_token_id=0, eos_token_id=0)
        ),
        presets.decision_transformer(**SMALL, steps=30, positions=60),
        {c: Channel(width=(WIDTH[r],), mean=MEAN, std=STD, axes=(Axis("step", 30),)) for r, c in NAMES.items()},
        [episode(n) for n in LENGTHS],
        document,
        answer,
        roles=NAMES,
        unread=("encoder.wte.weight",),
        steps=True,
        wrong={
            "gelu": lambda p: p.replace(act="gelu"),
            "unbounded": lambda p: p.replace(tanh=False),
            "eps 1e-6": lambda p: p.replace(eps=1e-6),
        },
        note="transformers.DecisionTransformerModel",
    )
