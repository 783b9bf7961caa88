"""Acting with a Decision Transformer's weights against Hugging Face's `DecisionTransformerModel`, at the paper's size.

Hugging Face computes the last K steps anew for every action, as its examples do. Ours reads the first K steps from a
cache and computes the window beyond them anew: both are the same computation, and the actions agree before anything is
timed. No environment runs: observations are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from omnitok_trajectory.rollout import ModelPolicy
from omnitok_trajectory.tokenizer import TrajectoryTokenizer

from omnitok.assemble import build
from omnitok.objectives import Next
from omnitok.presets.reference.decision_transformer import DecisionTransformer
from omnitok.weights import import_weights
from tests.bench.timing import options, report

STEPS, STATE, ACT = 20, 11, 3
CLOSE = 1e-5
SPACES = {
    "observation_space": {"type": "Box", "shape": [STATE], "low": None, "high": None, "dtype": "float32"},
    "action_space": {"type": "Box", "shape": [ACT], "low": -1.0, "high": 1.0, "dtype": "float32"},
}
EPISODE = {1: 200, 64: 60}
"""steps of a full episode by batch"""


def pair() -> tuple[Any, ModelPolicy]:
    """Their model and a policy over ours with the same weights."""
    from transformers import DecisionTransformerConfig, DecisionTransformerModel

    torch.manual_seed(0)
    theirs = DecisionTransformerModel(DecisionTransformerConfig(state_dim=STATE, act_dim=ACT, max_ep_len=1025)).eval()
    tokenizer = TrajectoryTokenizer(**SPACES)
    channels, head = tokenizer.channels(), tokenizer.channel("action")
    roles = {
        "condition": tokenizer.channel("return_to_go"),
        "observation": tokenizer.channel("observation"),
        "action": head,
    }
    preset = DecisionTransformer(steps=1025, tanh=True)
    ours = build(preset, channels, Next(head).heads("", channels), roles=roles).eval()
    import_weights(ours, theirs.state_dict())
    return theirs, ModelPolicy(tokenizer, ours, 3 * STEPS)


def section(theirs: Any, policy: ModelPolicy, n: int, steps: int) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """Contenders that act `steps` times in n episodes, and facts."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(steps, n, STATE)).astype(np.float32)
    returns = (10 - 0.01 * np.arange(steps))[:, None].repeat(n, 1)

    @torch.no_grad()
    def reference() -> np.ndarray:
        states, acted = torch.from_numpy(seen).transpose(0, 1), torch.zeros(n, steps, ACT)
        asked, when = torch.from_numpy(returns.astype(np.float32)).T[..., None], torch.arange(steps)[None].expand(n, -1)
        for t in range(steps):
            part = slice(max(0, t + 1 - STEPS), t + 1)
            out = theirs(
                states=states[:, part],
                actions=acted[:, part],
                returns_to_go=asked[:, part],
                timesteps=when[:, part],
                rewards=None,
                attention_mask=torch.ones(n, part.stop - part.start),
            )
            acted[:, t] = out.action_preds[:, -1]
        return acted.transpose(0, 1).numpy()

    def ours() -> np.ndarray:
        policy.reset(n)
        rows = list(range(n))
        return np.stack([np.stack(policy.act(rows, returns[t], list(seen[t]))) for t in range(steps)])

    apart = float(np.abs(reference() - ours()).max())
    assert apart < CLOSE, f"the actions differ by {apart}"
    return {"transformers": reference, "omnitok": ours}, {
        "episodes": n,
        "steps": steps,
        "context": STEPS,
        "largest_difference": apart,
    }


if __name__ == "__main__":
    asked = options(__doc__)
    models = pair()
    sections = {}
    for batch in (1, 64):
        sections[f"first {STEPS} steps, batch {batch}"] = section(*models, batch, STEPS)
        sections[f"full episode, batch {batch}"] = section(*models, batch, EPISODE[batch])
    report("rollout", sections, asked)
