"""TokenGT (Kim et al. 2022, arXiv 2207.02505), as the published code stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn

from ...batch import Document
from ...errors import ConfigError
from ...model import CONTROL, READOUT, START, Model, Stream
from ...nn.context import Context
from ...nn.initial import Constant, Initial, Normal
from ...nn.norms import Norm
from ...nn.steps import INIT_STD, Axis, Dropout, Step, Table
from ...sequence import Span, TokenSequence
from ...tokenizer import Channel
from ...weights import Fixed, Reference, Rule, Shape, Size, T, affine, rule
from ._fairseq import INSIDE, Padded, Rates, block, block_rules, head, head_rules


class Special(Step, frozen=True):
    """One learned vector for readouts, and another for every other token of the core's own channel."""

    def out(self, width: int, dim: int) -> int:
        return dim

    def build(self, width: int, dim: int) -> nn.Module:
        return SpecialModule(dim)


class SpecialModule(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.readout, self.null = (nn.Parameter(torch.randn(dim) * INIT_STD) for _ in range(2))

    def forward(self, ids: Tensor, ctx: Context) -> Tensor:
        """[n] ids -> [n, dim]"""
        return torch.where((ids >= READOUT)[:, None], self.readout, self.null)


def _size(identifiers: int, nodes: int, edges: int, **fields: object) -> Size:
    """A published size; the numbers of ids are those of its tables without padding."""
    axes = (Axis("node", 2 * identifiers, "linear"), Axis("kind", 2))
    both = {"nodes": nodes, "edges": edges}
    return Size(fields, {r: Channel(vocab=v, attend="full", ordered=False, axes=axes) for r, v in both.items()})


class TokenGT(Reference, frozen=True, kw_only=True):
    """A plain Transformer of node tokens and edge tokens; what is connected is said by the tokens alone.

    A token adds a bias-free linear map of the identifiers of its two ends, side by side (axis `node`; a node is both), and
    a vector that tells nodes and self-loops from other edges (axis `kind`). The readout, first in its document, and a null
    token, which `prepare` adds, have neither. Identifiers should be orthonormal or Laplacian eigenvectors.

    The published tables hold a zero row for padding, which is left out here, and a last norm that is never read.
    """

    name: ClassVar[str] = "tokengt"
    source: ClassVar[str] = "arXiv 2207.02505; github.com/jw9730/tokengt"
    suits: ClassVar[tuple[str, ...]] = ("regress", "classify", "link")
    published: ClassVar[Mapping[str, Size]] = {
        "tokengt-base-lap": _size(16, 4608, 1536),
        "tokengt-base-orf": _size(64, 4608, 1536, ids="orthogonal"),
    }
    roles: ClassVar[tuple[str, ...]] = ("special", "nodes", "edges")
    readout: ClassVar[str | None] = "special"
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 32
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: dim")] | None = None
    ids: Annotated[Literal["laplacian", "orthogonal"], Meta(description="which identifiers the map is for, in files")] = (
        "laplacian"
    )
    answers: Annotated[int, Meta(ge=0, description="numbers that the model's own head gives; 0: tasks bring theirs")] = 1
    act: Annotated[str, Meta(description="activation of the MLP and the head")] = "gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches and the embedding, in training")] = 0.0
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="of attention weights, in training")] = 0.1
    hidden_dropout: Annotated[float, Meta(ge=0, lt=1, description="inside the MLP, in training")] = 0.1
    drop_path: Annotated[float, Meta(ge=0, lt=1, description="of the last block's branches; rises from the first")] = 0.1

    def prepare(self, document: Document) -> Document:
        """The null token in front."""
        null = TokenSequence((Span(CONTROL, torch.tensor([START])),))
        name = list(document.streams)[-1]
        return document.replace(streams={**document.streams, name: null + document.main})

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        norm = Norm(eps=self.eps)
        rates = Rates(self.dropout, self.attention_dropout, self.hidden_dropout)
        blocks = block(self.heads, self.hidden or self.dim, self.act, norm, True, rates)
        paths = [self.drop_path * (i + 1) / self.depth for i in range(self.depth)]
        tables = {role: (Table(self._vocab(role, bound[role])),) for role in ("nodes", "edges")}
        main = Stream(
            self.dim,
            tuple(tuple(r.replace(drop_path=rate) for r in blocks) for rate in paths),
            embed={"special": (Special(),), **tables},
            steps=(Axis("node", self._identifiers(bound), "linear"), Axis("kind", 2, std=INIT_STD), norm, Dropout(self.dropout)),
            heads={"special": head(self.answers, self.act, norm)} if self.answers else {},
            attend="full",
        )
        return Model({"main": main})

    def _vocab(self, role: str, channel: Channel) -> int:
        if channel.vocab is None:
            raise ConfigError(f"tokengt: role {role!r} needs a channel of ids, and it is bound to one of features")
        return channel.vocab

    def _identifiers(self, bound: Mapping[str, Channel]) -> int:
        """Columns of the axis `node`, which the nodes and edges share."""
        found = {r: next((a.size for a in bound[r].axes if a.axis == "node"), None) for r in ("nodes", "edges")}
        if found["nodes"] is None or found["nodes"] != found["edges"]:
            raise ConfigError(
                f"tokengt: nodes have {found['nodes'] or 'no'} columns of identifiers (axis 'node') and edges "
                f"{found['edges'] or 'none'}: let the tokenizer give both as many, with edge tokens on"
            )
        return found["nodes"]

    def initial(self) -> Sequence[tuple[str, Initial]]:
        """Every map and table as the published code's last word has it; padding rows are zero."""
        patterns = ("*.mixer.*.weight", "*.embed.*", "*.steps.[01].table", "*.heads.special.[03].weight")
        zeros = ("*.mixer.*.bias", "*.heads.special.0.bias")
        return (*((p, Constant(0.0)) for p in zeros), *((p, Normal(0.02)) for p in patterns))

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs, dim = "streams.main.", INSIDE + "graph_feature.", self.dim
        encoder = "lap_encoder" if self.ids == "laplacian" else "orf_encoder"
        return [
            *rule(ours + "embed.nodes.0.weight", theirs + "atom_encoder.weight", Padded()),
            *rule(ours + "embed.edges.0.weight", theirs + "edge_encoder.weight", Padded()),
            *rule(ours + "embed.special.0.readout", theirs + "graph_token.weight", Shape((dim,), (1, dim))),
            *rule(ours + "embed.special.0.null", theirs + "null_token.weight", Shape((dim,), (1, dim))),
            *rule(ours + "steps.0.table", f"{theirs}{encoder}.weight", T()),
            *rule(ours + "steps.1.table", theirs + "order_encoder.weight"),
            *affine(ours + "steps.2", INSIDE + "emb_layer_norm"),
            *block_rules(True, "feedforward.", self.depth),
            *rule((), INSIDE + "final_layer_norm.weight", Fixed(lambda: torch.ones(dim))),
            *rule((), INSIDE + "final_layer_norm.bias", Fixed(lambda: torch.zeros(dim))),
            *(head_rules("special", dim) if self.answers else []),
        ]
