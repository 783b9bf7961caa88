"""Parity cases: linear attention, beside the layers of idiap's fast-transformers written out from its equations.

Its package has to be compiled, so the reference is our own: the paper's equation 9 for one query at a time, in modules of
that package's names.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Document
from omnitok.nn.attention import Attention
from omnitok.nn.linear_attention import Elu, LinearAttention, orthogonal_directions
from omnitok.nn.steps import FunctionModule
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, LENGTHS, Case, case, noise, published
from tests.laws.parity.wrong import full, mixers, pre_norm, residuals


class FavorMap(nn.Module):
    """Positive random features of the Performer (arXiv 2009.14794, lemma 1), with h(x) for the softmax kernel."""

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        self.register_buffer("omega", orthogonal_directions(size, features // 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x / len(x) ** 0.25
        both = torch.cat([self.omega.T @ x, -self.omega.T @ x])
        return torch.exp(both - x @ x / 2) / math.sqrt(len(both))


class Inner(nn.Module):
    def __init__(self, size: int, random: int | None) -> None:
        super().__init__()
        if random:
            self.feature_map = FavorMap(size, random)

    def phi(self, x: Tensor) -> Tensor:
        return self.feature_map(x) if hasattr(self, "feature_map") else F.elu(x) + 1

    def forward(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        """One head: [L, K] each."""
        rows = []
        for i in range(len(q)):
            seen = range(i + 1) if causal else range(len(k))
            share = torch.stack([self.phi(q[i]) @ self.phi(k[j]) for j in seen])
            rows.append(share @ v[: len(seen)] / (share.sum() + 1e-6))
        return torch.stack(rows)


class AttentionLayer(nn.Module):
    def __init__(self, dim: int, heads: int, random: int | None) -> None:
        super().__init__()
        self.heads = heads
        self.inner_attention = Inner(dim // heads, random)
        self.query_projection, self.key_projection = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value_projection, self.out_projection = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        q, k, v = (m(x).chunk(self.heads, -1) for m in (self.query_projection, self.key_projection, self.value_projection))
        heads = [self.inner_attention(*each, causal) for each in zip(q, k, v, strict=True)]
        return self.out_projection(torch.cat(heads, -1))


class EncoderLayer(nn.Module):
    def __init__(self, dim: int, heads: int, random: int | None) -> None:
        super().__init__()
        self.attention = AttentionLayer(dim, heads, random)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = self.norm1(x + self.attention(x, causal))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class LinearEncoder(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int, random: int | None, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, random) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, self.causal)
        return self.norm(x)


class BareElu(Elu, frozen=True):
    def build(self, head_dim: int) -> nn.Module:
        return FunctionModule(F.elu)


def softmaxed(r):
    return r.replace(mixer=Attention(r.mixer.heads)) if isinstance(r.mixer, LinearAttention) else r


def linear_model(preset, lengths=LENGTHS, **more) -> Case:
    causal = preset.attend == "causal"
    return Case(
        lambda: LinearEncoder(preset.dim, preset.depth, preset.heads, preset.random, causal),
        preset,
        {"frames": Channel(width=(preset.dim,), embed=())},
        [noise(n, preset.dim, seed=n) for n in lengths],
        lambda raw: Document({"main": TokenSequence((Span("frames", features=raw),))}),
        lambda reference, raw: {"main": reference(raw)},
        hidden=("main",),
        steps=causal,
        note="equation 9 of the paper",
        **more,
    )


SMALL = {"dim": DIM, "depth": DEPTH, "heads": HEADS, "positions": "none", "chunk": 4}


@case("linear-transformer")
def linear_transformer() -> Case:
    wrong = {
        "phi without 1": mixers(LinearAttention, features=BareElu()),
        "softmax": residuals(softmaxed),
        "every token sees all": full,
        "norms in front": pre_norm,
        "tanh gelu": lambda p: p.replace(act="gelu_tanh"),
        "eps 1e-4": lambda p: p.replace(eps=1e-4),
    }
    return linear_model(presets.linear_transformer(**SMALL), wrong=wrong)


@case("linear-transformer: full")
def linear_encoder() -> Case:
    return linear_model(presets.linear_transformer(**SMALL, attend="full"))


@case("linear-transformer: random features")
def performer() -> Case:
    return linear_model(presets.linear_transformer(**SMALL, random=10))


@published("linear-transformer-mnist")
def mnist() -> Case:
    return linear_model(presets.linear_transformer(positions="none"), (70, 5))


@published("linear-transformer-cifar10")
def cifar10() -> Case:
    return linear_model(presets.linear_transformer(positions="none", depth=16), (70, 5))
