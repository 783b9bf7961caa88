"""Attention by its definition, one query and one head at a time: what every backend must equal.

Shape letters: N flat tokens, D model dim, H heads, K head dim; n tokens of one document, m of its memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from omnitok.batch import Document, Schema
from omnitok.nn.attention import AttentionModule
from omnitok.nn.positions import PairTable, Rope
from omnitok.sequence import TokenSequence
from tests.laws.masks import oracle, rules_of


class Tokens:
    """Places, axes, pairs and what may be seen, read off one document's sequence."""

    def __init__(self, document: Document, stream: str, schema: Schema) -> None:
        sequence = document.streams.get(stream, TokenSequence())
        n = len(sequence)
        self.visible = oracle(rules_of(sequence, document, stream, schema))
        self.axes = {"position": torch.arange(n), **{a: torch.full((n,), -1) for a, width in schema.axes.items() if not width}}
        for span, places in zip(sequence.spans, sequence.places, strict=True):
            for axis, values in span.axes.items():
                if axis in self.axes:
                    self.axes[axis][places] = values
            if span.channel in schema.sets and len(places):
                self.axes["position"][places] = int(places[0])
        self.pairs = {
            name: list(zip(*ends.tolist(), labels.tolist(), strict=True)) for name, (ends, labels) in sequence.pairs.items()
        }


def rotated(x_nHK: Tensor, rope: Rope, tokens: Tokens) -> Tensor:
    """Pairs of head dimensions turned as complex numbers; the first half goes with the second, or neighbours together."""
    out, at = x_nHK.clone(), 0
    given = sum(d for _, d in rope.over)
    for axis, size in rope.over:
        d = size or x_nHK.shape[-1] - given
        cut = x_nHK[..., at : at + d]
        real, imaginary = (cut[..., 0::2], cut[..., 1::2]) if rope.interleaved else (cut[..., : d // 2], cut[..., d // 2 :])
        place = tokens.axes[axis].clamp(min=0).to(x_nHK.dtype)
        angle = place[:, None, None] * rope.theta ** (-torch.arange(0, d, 2) / d)
        turned = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angle), angle)
        both = (turned.real, turned.imag)
        out[..., at : at + d] = torch.stack(both, -1).flatten(-2) if rope.interleaved else torch.cat(both, -1)
        at += d
    return out


def formula(
    module: AttentionModule,
    tables: dict[PairTable, Tensor],
    x_ND: Tensor,
    memory_ND: Tensor,
    documents: Sequence[Document],
    schema: Schema,
    stream: str = "main",
    memory: str = "main",
) -> Tensor:
    """[N, D] the module's answer for documents laid end to end in the order given."""
    x_parts = x_ND.split([len(d.streams.get(stream, ())) for d in documents])
    m_parts = memory_ND.split([len(d.streams.get(memory, ())) for d in documents])
    cross = module.config.source == "memory"
    rows = []
    for document, x, source in zip(documents, x_parts, m_parts, strict=True):
        queries = Tokens(document, stream, schema)
        keys = Tokens(document, memory, schema) if cross else queries
        rows.append(_one_document(module, tables, x, source if cross else x, queries, keys, cross))
    return module.o(torch.cat(rows))


def _one_document(
    module: AttentionModule,
    tables: dict[PairTable, Tensor],
    x: Tensor,
    source: Tensor,
    queries: Tokens,
    keys: Tokens,
    cross: bool,
) -> Tensor:
    """[n, H * K] before the output map."""
    config, size = module.config, module.head_dim
    q, k, v = module.q(x).unflatten(-1, (-1, size)), module.k(source).unflatten(-1, (-1, size)), module.v(source)
    v = v.unflatten(-1, (module.kv_heads, -1))
    if config.qk_norm:
        q, k = module.q_norm(q, None), module.k_norm(k, None)
    for rope in (p for p in config.positions if isinstance(p, Rope)):
        q, k = rotated(q, rope, queries), rotated(k, rope, keys)
    scale = size**-0.5 if config.scale is None else config.scale
    share = module.heads // module.kv_heads
    out = torch.zeros(len(x), module.heads, v.shape[-1])
    for i in range(len(x)):
        seen = [j for j in range(len(source)) if _sees(config, queries, keys, i, j, cross)]
        for h in range(module.heads if seen else 0):
            score = torch.stack([scale * (q[i, h] @ k[j, h // share]) + _bias(tables, queries, i, j, h) for j in seen])
            weight = (score - score.max()).exp()
            out[i, h] = (weight / weight.sum()) @ v[seen, h // share]
    return out.flatten(1)


def _sees(config, queries: Tokens, keys: Tokens, i: int, j: int, cross: bool) -> bool:
    if not cross and not queries.visible[i, j]:
        return False
    if config.over is not None and not any((a, b) == (i, j) for a, b, _ in queries.pairs.get(config.over, [])):
        return False
    if config.window is None:
        return True
    here, there = int(queries.axes[config.window_axis][i]), int(keys.axes[config.window_axis][j])
    return here < 0 or there < 0 or abs(here - there) < config.window  # a token without the axis is not restricted by it


def _bias(tables: dict[PairTable, Tensor], tokens: Tokens, i: int, j: int, h: int) -> Tensor:
    found = [
        table[label, h]
        for position, table in tables.items()
        for a, b, label in tokens.pairs.get(position.name, [])
        if (a, b) == (i, j)
    ]
    return sum(found, torch.zeros(()))
