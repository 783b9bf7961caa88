"""Parity cases: towers whose answers are compared."""

import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Ask, Document
from omnitok.model import Model
from omnitok.nn.experts import MoE
from omnitok.nn.steps import Pool, Unit
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, HIDDEN, LENGTHS, VOCAB, Answers, Case, case, ids, library, noise, published
from tests.laws.parity.causal import set_to
from tests.laws.parity.causal_sizes import CUT, IDS, NOT_THEIRS
from tests.laws.parity.vision import MEAN, STD, patches
from tests.laws.parity.wrong import changed, mixers, post_norm, streams

NAMES = {"tokens": "text", "patches": "image"}


def pooled(stream: str, sequence: TokenSequence) -> Ask:
    """One answer for the whole stream, by its head "contrast"."""
    rows = torch.arange(len(sequence))
    return Ask(f"{stream}:contrast", rows, torch.zeros(1), torch.ones(1), torch.zeros_like(rows), None, stream)


def pair_of(preset, size: int):
    """Raw ids and pixels -> a document whose two streams are asked."""

    def document(raw: tuple[Tensor, Tensor]) -> Document:
        tokens = TokenSequence((Span("text", raw[0]),))
        picture = TokenSequence((Span("image", features=patches(raw[1], size)),))
        made = preset.prepare(Document({"tokens": tokens, "patches": picture}))
        return made.replace(asks={s: pooled(s, made.streams[s]) for s in NAMES})

    return document


def pairs(lengths, side: int, vocab: int) -> list[tuple[Tensor, Tensor]]:
    """Ids that end in the highest one, which comes nowhere else, and pixels."""
    return [(torch.cat([ids(n - 1, n, vocab - 1), torch.tensor([vocab - 1])]), noise(3, side, side, seed=n)) for n in lengths]


def embeddings(reference: nn.Module, raw: tuple[Tensor, Tensor]) -> Answers:
    out = reference(input_ids=raw[0][None], pixel_values=raw[1][None])
    return {"tokens": out.text_embeds * reference.logit_scale.exp(), "patches": out.image_embeds}


def read_at(stream: str, where: str):
    """A wrong setting: that stream's head pools another row."""

    def head(model: Model) -> Model:
        s = model.streams[stream]
        heads = {"contrast": (Pool(where), *s.heads["contrast"][1:])}
        return model.replace(streams={**model.streams, stream: s.replace(heads=heads)})

    return lambda preset: changed(head, preset)


def clip_model(config: dict, preset, size: int, side: int, vocab: int, lengths=LENGTHS, **more) -> Case:
    hf = library("transformers")
    made = hf.CLIPConfig(**config)
    return Case(
        lambda: hf.CLIPModel(made),
        preset,
        {"text": Channel(vocab=vocab), "image": Channel(width=(3 * size * size,), mean=MEAN, std=STD)},
        pairs(lengths, side, vocab),
        pair_of(preset, size),
        embeddings,
        roles=NAMES,
        note="transformers.CLIPModel",
        **more,
    )


@case("clip")
def clip() -> Case:
    both = {"num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "projection_dim": 24}
    text = {**both, "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 20}
    text |= {"eos_token_id": VOCAB - 1, "bos_token_id": 0}
    vision = {**both, "hidden_size": DIM, "intermediate_size": HIDDEN, "image_size": 32, "patch_size": 8}
    sizes = {"dim": DIM, "depth": DEPTH, "heads": HEADS, "hidden": HIDDEN, "patch": (3, 8, 8), "patches": 16, "embedding": 24}
    tokens = {"tokens_dim": 32, "tokens_depth": DEPTH, "tokens_heads": HEADS, "tokens_hidden": 64, "positions": 20}
    return clip_model(
        {"text_config": text, "vision_config": vision, "projection_dim": 24},
        presets.clip(**sizes, **tokens),
        8,
        32,
        VOCAB,
        wrong={
            "tanh gelu": set_to(act="gelu_tanh"),
            "eps 1e-6": set_to(eps=1e-6),
            "norms behind the sums": post_norm,
            "tokens read at the first": read_at("tokens", "first"),
            "mean of the patches": read_at("patches", "mean"),
            "tokens see all": lambda p: changed(all_seen, p),
            "no norm behind the class token's position": streams(lambda s: s.replace(steps=s.steps[:1])),
            "not of length 1": streams(without_unit),
        },
    )


def all_seen(model: Model) -> Model:
    return model.replace(streams={n: s.replace(attend="full") for n, s in model.streams.items()})


def without_unit(stream):
    return stream.replace(heads={n: tuple(s for s in h if not isinstance(s, Unit)) for n, h in stream.heads.items()})


def clip_size(name: str, vocab: int, **fields) -> None:
    """Register a published size, with other fields of the preset where it is too large."""

    @published(name)
    def make() -> Case:
        size = presets.clip.published[name]
        preset = presets.clip(**{**size.fields, **fields})
        channels = {**size.channels, "tokens": Channel(vocab=vocab, start=0, end=vocab - 1)}
        config = {k: v for k, v in preset.to_config(channels).items() if k not in NOT_THEIRS}
        return clip_model(config, preset, preset.patch[1], 224, vocab, lengths=(9, 16))


clip_size("clip-vit-base-patch32", 49408)
clip_size("clip-vit-base-patch16", 49408)
clip_size("clip-vit-large-patch14", IDS, depth=CUT, tokens_depth=CUT)


class Limoe(nn.Module):
    """LIMoE's forward pass from the paper's formulas, one document at a time, token by token at the experts."""

    def __init__(self, vocab: int, width: int, positions: tuple[int, int], sizes: dict[str, int], out: int) -> None:
        super().__init__()
        dim = sizes["dim"]
        self.words, self.pixels = nn.Embedding(vocab, dim), nn.Linear(width, dim)
        nn.init.normal_(self.words.weight, std=0.02)
        self.places = nn.ParameterList(nn.Parameter(torch.randn(n, dim) * 0.02) for n in positions)
        self.blocks = nn.ModuleList(LimoeBlock(i % 2 == 1, **sizes) for i in range(sizes["depth"]))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.project = nn.ModuleList(nn.Linear(dim, out, bias=False) for _ in positions)
        self.log = nn.Parameter(torch.tensor(2.0))

    def one(self, x: Tensor, kind: int) -> Tensor:
        x = x + self.places[kind][: len(x)]
        for block in self.blocks:
            x = block(x)
        z = self.project[kind](self.norm(x).mean(0))
        return (z / z.norm())[None]

    def state(self) -> dict[str, Tensor]:
        """Its tensors in the preset's names."""
        out = {"tokens.embed.tokens.0.weight": self.words.weight, "tokens.heads.contrast.3.log": self.log}
        out |= named("patches.embed.patches.1", self.pixels) | named("tokens.norm", self.norm)
        for kind, stream in enumerate(NAMES):
            out[f"{stream}.steps.0.table"] = self.places[kind]
            out[f"{stream}.heads.contrast.1.weight"] = self.project[kind].weight
        for i, block in enumerate(self.blocks):
            out |= {f"tokens.blocks.{i}.{k}": v for k, v in block.state().items()}
        return {k: v.detach() for k, v in out.items()}


class LimoeBlock(nn.Module):
    def __init__(self, sparse: bool, dim: int, depth: int, heads: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        mlps = [nn.Sequential(nn.Linear(dim, hidden), nn.GELU("tanh"), nn.Linear(hidden, dim)) for _ in range(experts)]
        self.mlps = nn.ModuleList(mlps if sparse else mlps[:1])
        self.router = nn.Linear(dim, experts, bias=False) if sparse else None
        self.top_k = top_k

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)[None]
        x = x + self.attention(y, y, y, need_weights=False)[0][0]
        y = self.second(x)
        return x + (self.mlps[0](y) if self.router is None else self.sparse(y))

    def sparse(self, x: Tensor) -> Tensor:
        """Batch priority routing with capacity factor 1: best tokens first, all first choices before the second."""
        probability = self.router(x).softmax(-1)
        weight, chosen = probability.topk(self.top_k)
        room = [-(-self.top_k * len(x) // len(self.mlps))] * len(self.mlps)
        out = torch.zeros_like(x)
        for k in range(self.top_k):
            for t in weight[:, 0].argsort(descending=True).tolist():
                expert = int(chosen[t, k])
                if room[expert]:
                    room[expert] -= 1
                    out[t] += weight[t, k] * self.mlps[expert](x[t])
        return out

    def state(self) -> dict[str, Tensor]:
        a = self.attention
        parts = zip("qkv", a.in_proj_weight.chunk(3), a.in_proj_bias.chunk(3), strict=True)
        out = {f"attention.mixer.{x}.{k}": v for x, w, b in parts for k, v in (("weight", w), ("bias", b))}
        out |= named("attention.mixer.o", a.out_proj) | named("attention.pre", self.first) | named("mlp.pre", self.second)
        for name, i in (("up", 0), ("down", 2)):
            for kind in ("weight", "bias"):
                each = [getattr(mlp[i], kind) for mlp in self.mlps]
                out[f"mlp.mixer.{name}.{kind}"] = each[0] if self.router is None else torch.stack(each)
        return out | ({} if self.router is None else {"mlp.mixer.router.weight": self.router.weight})


def named(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def limoe_answer(reference: Limoe, raw: tuple[Tensor, Tensor], size: int) -> Answers:
    rows = (patches(raw[1], size) - MEAN) / STD
    tokens, pixels = reference.words(raw[0]), reference.pixels(rows)
    return {"tokens": reference.one(tokens, 0) * reference.log.exp(), "patches": reference.one(pixels, 1)}


def limoe_model(preset, size: int, side: int, vocab: int, lengths=LENGTHS, **more) -> Case:
    sizes = {n: getattr(preset, n) for n in ("dim", "depth", "heads", "hidden", "experts", "top_k")}
    sizes["hidden"] = sizes["hidden"] or 4 * preset.dim
    width, positions = 3 * size * size, (preset.positions, preset.patches)
    return Case(
        lambda: Limoe(vocab, width, positions, sizes, preset.embedding or preset.dim),
        preset,
        {"text": Channel(vocab=vocab), "image": Channel(width=(width,), mean=MEAN, std=STD)},
        pairs(lengths, side, vocab),
        pair_of(preset, size),
        lambda reference, raw: limoe_answer(reference, raw, size),
        roles=NAMES,
        state=Limoe.state,
        initial=False,
        note="the paper's formulas, written out in the tests",
        **more,
    )


SMALL_LIMOE = {"dim": DIM, "depth": 4, "heads": HEADS, "hidden": HIDDEN, "positions": 12, "patch": (3, 8, 8), "patches": 16}


@case("limoe")
def limoe() -> Case:
    return limoe_model(
        presets.limoe(**SMALL_LIMOE, experts=4, embedding=24),
        8,
        32,
        VOCAB,
        wrong={
            "room for a quarter more": set_to(capacity_factor=1.25),
            "room for all": mixers(MoE, capacity_factor=None),
            "room in token order": mixers(MoE, priority="order"),
            "weights renormalised": mixers(MoE, renormalise=True),
            "erf gelu": set_to(act="gelu"),
            "eps 1e-5": set_to(eps=1e-5),
            "read at the first": read_at("patches", "first"),
            "norms behind the sums": post_norm,
            "two experts for each token": set_to(top_k=2),
        },
    )


@case("limoe: two experts for each token")
def limoe_two() -> Case:
    return limoe_model(presets.limoe(**SMALL_LIMOE, experts=4, top_k=2, embedding=24), 8, 32, VOCAB)


def limoe_size(name: str) -> None:
    """Register a published size, with 2 blocks and 4096 ids."""

    @published(name)
    def make() -> Case:
        preset = presets.limoe(**{**presets.limoe.published[name].fields, "depth": CUT})
        return limoe_model(preset, preset.patch[1], 224, IDS, lengths=(9, 16))


limoe_size("limoe-b16")
limoe_size("limoe-b32")
limoe_size("limoe-l16")
