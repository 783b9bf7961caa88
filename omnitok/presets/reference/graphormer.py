"""Graphormer (Ying et al. 2021, arXiv 2106.05234), as the published code stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.initial import Constant, Initial, Normal
from ...nn.norms import Norm
from ...nn.paths import Lacking, PathTable
from ...nn.positions import PairTable, Position
from ...nn.steps import INIT_STD, Axis, Dropout, Learned, Linear, Step, Table
from ...tokenizer import Channel
from ...weights import Reference, Rule, Shape, Size, affine, rule
from ._fairseq import INSIDE, Padded, Rates, block, block_rules, head, head_rules
from ._neighbours import check_pairs

DISTANCE = "distance"
DEGREES = ("in_degree", "out_degree")


def _size(vocab: int, distances: int, labels: int, **fields: Any) -> Size:
    """A published size; the numbers of rows are those of its tables without padding."""
    pairs = {DISTANCE: distances} | {f"hop{n + 1}": labels for n in range(5)}
    nodes = Channel(vocab=vocab, attend="full", ordered=False, pairs=pairs)
    return Size(fields, {"nodes": nodes})


class Graphormer(Reference, frozen=True, kw_only=True):
    """Full attention among nodes and one virtual node, which is the readout; it comes first in its document.

    A node adds a vector for its degree in and out (the axes `in_degree`, `out_degree`). Scores add a number per head for
    the shortest distance from query to key (pairs `distance`, one label of which may mean "unreachable"), the mean of a
    term for every hop on the way ("hop1", "hop2", ...), and one for the virtual node: whatever has no `in_degree`.

    Norms stand in front of the branches, as in the paper and its first code; `pre_norm = false` is the form of the
    published checkpoints: norms behind the sums and the embedding, another head, and columns of ids summed, not averaged.
    Their tables hold a zero row for padding, which is left out here. A connection has one label.
    """

    name: ClassVar[str] = "graphormer"
    source: ClassVar[str] = "arXiv 2106.05234; github.com/microsoft/Graphormer"
    suits: ClassVar[tuple[str, ...]] = ("regress", "classify", "link")
    published: ClassVar[Mapping[str, Size]] = {
        "graphormer-base": _size(4608, 511, 1536),
        "graphormer-base-pcqm4mv2": _size(4608, 511, 1536, columns=9, pre_norm=False, dropout=0.0, hidden_dropout=0.1),
        "graphormer-slim": _size(63, 39, 63, dim=80, heads=8, degrees=63, path_rows=40),
    }
    roles: ClassVar[tuple[str, ...]] = ("virtual", "nodes")
    readout: ClassVar[str | None] = "virtual"
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 32
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: dim")] | None = None
    degrees: Annotated[int, Meta(ge=1, description="rows of each table of degrees; higher ones share the last")] = 511
    hops: Annotated[int, Meta(ge=0, description="hops of a path that count; 0: no term for paths")] = 5
    path_rows: Annotated[int, Meta(ge=1, description="hops that the path term has room for")] = 128
    columns: Annotated[int, Meta(ge=1, description="ids per node; the paper's form takes the mean of their vectors")] = 1
    answers: Annotated[int, Meta(ge=0, description="numbers that the model's own head gives; 0: tasks bring theirs")] = 1
    pre_norm: Annotated[bool, Meta(description="norms in front of the branches")] = True
    act: Annotated[str, Meta(description="activation of the MLP and the head")] = "gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches and the embedding, in training")] = 0.1
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="of attention weights, in training")] = 0.1
    hidden_dropout: Annotated[float, Meta(ge=0, lt=1, description="inside the MLP, in training")] = 0.0

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        nodes, norm = self._nodes(bound), Norm(eps=self.eps)
        rates = Rates(self.dropout, self.attention_dropout, self.hidden_dropout)
        blocks = block(self.heads, self.hidden or self.dim, self.act, norm, self.pre_norm, rates, self._positions(nodes))
        degrees = tuple(Axis(a, self.degrees, std=INIT_STD) for a in DEGREES)
        scale = 1 / self.columns if self.pre_norm else 1.0
        main = Stream(
            self.dim,
            (blocks,) * self.depth,
            norm if self.pre_norm else None,
            embed={"virtual": (Learned(),), "nodes": (Table(nodes.vocab or 0, scale),)},
            steps=(*degrees, *(() if self.pre_norm else (norm,)), Dropout(self.dropout)),
            heads={"virtual": self._head(norm)} if self.answers else {},
            attend="full",
        )
        return Model({"main": main})

    def _nodes(self, bound: Mapping[str, Channel]) -> Channel:
        nodes = bound["nodes"]
        if nodes.vocab is None:
            raise ConfigError("graphormer: role 'nodes' needs a channel of ids, and it is bound to one of features")
        check_pairs(self.name, {"nodes": nodes}, DISTANCE, *(f"hop{n + 1}" for n in range(self.hops)))
        return nodes

    def _positions(self, nodes: Channel) -> tuple[Position, ...]:
        paths = (PathTable(nodes.pairs["hop1"], self.hops, rows=self.path_rows),) if self.hops else ()
        return (PairTable(DISTANCE, nodes.pairs[DISTANCE]), Lacking(DEGREES[0]), *paths)

    def _head(self, norm: Norm) -> tuple[Step, ...]:
        return (Linear(self.answers),) if self.pre_norm else head(self.answers, self.act, norm)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        """Every weight and table as the published code's last word has it; padding rows are zero."""
        patterns = ("*.mixer.*.weight", "*.embed.*", "*.steps.[01].table", "*.shared.*", "*.heads.virtual.[03].weight")
        zeros = ("*.mixer.*.bias", "*.heads.virtual.0.bias")
        return (*((p, Constant(0.0)) for p in zeros), *((p, Normal(0.02)) for p in patterns))

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours = "streams.main."
        if self.pre_norm:
            return [*self._table_rules("", "", "rel_pos_encoder"), *self._paper_rules()]
        return [
            *self._table_rules(INSIDE + "graph_node_feature.", INSIDE + "graph_attn_bias.", "spatial_pos_encoder"),
            *affine(ours + "steps.2", INSIDE + "emb_layer_norm"),
            *block_rules(False, "", self.depth),
            *(head_rules("virtual", self.dim) if self.answers else []),
        ]

    def _table_rules(self, nodes: str, scores: str, distance: str) -> list[Rule]:
        """Tables of nodes and of scores, under these prefixes of theirs."""
        ours, h, padded = "streams.main.", self.heads, Padded()
        shape = (self.path_rows, h, h)
        return [
            *rule(ours + "embed.nodes.0.weight", nodes + "atom_encoder.weight", padded),
            *rule(ours + "embed.virtual.0.vector", nodes + "graph_token.weight", Shape((self.dim,), (1, self.dim))),
            *[r for i, a in enumerate(DEGREES) for r in rule(f"{ours}steps.{i}.table", f"{nodes}{a}_encoder.weight", padded)],
            *rule(ours + "shared.0.weight", f"{scores}{distance}.weight", padded),
            *rule(ours + "shared.1.weight", scores + "graph_token_virtual_distance.weight", Shape((h,), (1, h))),
            *(rule(ours + "shared.2.weight", scores + "edge_encoder.weight", padded) if self.hops else []),
            *(rule(ours + "shared.2.mix", scores + "edge_dis_encoder.weight", Shape(shape, (-1, 1))) if self.hops else []),
        ]

    def _paper_rules(self) -> list[Rule]:
        """The blocks, the last norm and the head of the paper's first code."""
        ours, theirs = "streams.main.blocks.{i}.", "layers.{i}."
        names = {
            **{f"attention.mixer.{x}": f"self_attention.linear_{x}" for x in "qkv"},
            "attention.mixer.o": "self_attention.output_layer",
            "attention.pre": "self_attention_norm",
            "mlp.mixer.up": "ffn.layer1",
            "mlp.mixer.down": "ffn.layer2",
            "mlp.pre": "ffn_norm",
        }
        return [
            *[r for a, b in names.items() for r in affine(ours + a, theirs + b, None, self.depth)],
            *affine("streams.main.norm", "final_ln"),
            *(affine("streams.main.heads.virtual.0", "downstream_out_proj") if self.answers else []),
        ]
