"""GPT-J (Wang and Komatsuzaki 2021), as Hugging Face's GPTJForCausalLM stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.initial import Initial, Normal
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.parallel import Parallel
from ...nn.positions import Rope
from ...nn.residual import Residual
from ...nn.steps import INIT_STD, Dropout, Linear, Table
from ...tokenizer import Channel
from ...weights import Reference, Rule, Size, affine, rule
from ._config import ACTS, Key, heading, read, require, tokens_of, write
from ._shared import vocab_of

_KEYS = {
    "dim": Key("n_embd"),
    "depth": Key("n_layer"),
    "heads": Key("n_head"),
    "hidden": Key("n_inner", None),
    "rotary": Key("rotary_dim", 64),
    "positions": Key("n_positions", 2048),
    "act": Key("activation_function", "gelu_new", ACTS),
    "eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("resid_pdrop", 0.0),
    "embed_dropout": Key("embd_pdrop", 0.0),
    "attention_dropout": Key("attn_pdrop", 0.0),
    "init_std": Key("initializer_range", INIT_STD),
}


class GPTJ(Reference, frozen=True, kw_only=True):
    """A causal decoder: attention and MLP side by side behind one norm, heads rotated in part. Defaults are GPT-J 6B."""

    name: ClassVar[str] = "gptj"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    source: ClassVar[str] = "Wang and Komatsuzaki 2021, mesh-transformer-jax; transformers GPTJForCausalLM"
    suits: ClassVar[tuple[str, ...]] = ("next",)
    published: ClassVar[Mapping[str, Size]] = {"gpt-j-6b": Size({}, {"tokens": Channel(vocab=50400)})}
    unread: ClassVar[tuple[str, ...]] = ("*.attn.bias", "*.attn.masked_bias")
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 4096
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 28
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 16
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    rotary: Annotated[int, Meta(ge=2, description="numbers of every head that are rotated")] = 64
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document in training; no limit")] = 2048
    act: Annotated[str, Meta(description="activation of the MLP")] = "gelu_tanh"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.0
    embed_dropout: Annotated[float, Meta(ge=0, lt=1, description="on embedded tokens, in training")] = 0.0
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.0
    init_std: Annotated[float, Meta(ge=0, description="spread of the start values")] = INIT_STD

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, norm = vocab_of(self, bound["tokens"]), Norm(eps=self.eps)
        rope = Rope((("position", self.rotary),), interleaved=True)
        attention = Attention(self.heads, bias=False, positions=(rope,), dropout=self.attention_dropout)
        branches = (
            Residual("attention", attention, dropout=self.dropout),
            Residual("mlp", MLP(self.hidden or 4 * self.dim, self.act), dropout=self.dropout),
        )
        main = Stream(
            self.dim,
            ((Residual("both", Parallel(branches), pre=norm),),) * self.depth,
            norm,
            embed={"tokens": (Table(vocab),)},
            steps=(Dropout(self.embed_dropout),),
            heads={"tokens": (Linear(vocab),)},
            attend="causal",
        )
        return Model({"main": main})

    def initial(self) -> Sequence[tuple[str, Initial]]:
        normal = Normal(self.init_std)
        return (("*.mixer.*.weight", normal), ("*.embed.tokens.0.weight", normal), ("*.heads.tokens.0.weight", normal))

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs, depth = "streams.main.blocks.{i}.both.", "transformer.h.{i}.", self.depth
        maps = {
            f"{x}.weight": f"attn.{y}.weight" for x, y in zip("qkvo", ("q_proj", "k_proj", "v_proj", "out_proj"), strict=True)
        }
        return [
            *rule("streams.main.embed.tokens.0.weight", "transformer.wte.weight"),
            *affine(ours + "pre", theirs + "ln_1", None, depth),
            *[r for a, b in maps.items() for r in rule(f"{ours}mixer.attention.mixer.{a}", theirs + b, None, depth)],
            *affine(ours + "mixer.mlp.mixer.up", theirs + "mlp.fc_in", None, depth),
            *affine(ours + "mixer.mlp.mixer.down", theirs + "mlp.fc_out", None, depth),
            *affine("streams.main.norm", "transformer.ln_f"),
            *affine("streams.main.heads.tokens.0", "lm_head"),
        ]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        require(cls.name, config, model_type="gptj", tie_word_embeddings=False)
        return cls(**read(cls.name, _KEYS, config)), tokens_of(cls.name, config)

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        plain = {"tie_word_embeddings": False}
        return {**heading("GPTJForCausalLM", "gptj", bound["tokens"]), **write(self, _KEYS), **plain}
