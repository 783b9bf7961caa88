"""Parity cases: models of an encoder and a decoder."""

import torch
from torch import Tensor

from omnitok import presets
from omnitok.batch import Document
from omnitok.nn.attention import Attention
from omnitok.nn.buckets import Buckets
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from omnitok.nn.steps import Tied
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import (
    DEPTH,
    DIM,
    HEADS,
    HIDDEN,
    SMALL,
    VOCAB,
    Case,
    asked,
    case,
    ids,
    library,
    noise,
    published,
    quiet,
)
from tests.laws.parity.wrong import bare_scores, full, mixers, post_norm, pre_norm, residuals, streams

PAIRS = ((7, 4), (12, 9), (5, 6))


def line(ids: Tensor) -> TokenSequence:
    return TokenSequence((Span("text", ids),))


def pair(raw: tuple[Tensor, Tensor]) -> Document:
    """Ids read by one stream and ids predicted by the other, every row asked."""
    one, two = map(line, raw)
    return Document({"encoder": one, "decoder": two}, {"next": asked("decoder:tokens", torch.arange(len(two)), "decoder")})


def two_streams(fresh, preset, vocab: int = VOCAB, lengths=PAIRS, **more) -> Case:
    """A Hugging Face model of ids with a head over them; more of `Case` by keyword."""
    return Case(
        fresh,
        preset,
        {"text": Channel(vocab=vocab)},
        [(ids(n, n, vocab), ids(m, 100 + m, vocab)) for n, m in lengths],
        pair,
        lambda reference, raw: {
            "next": reference(input_ids=raw[0][None], decoder_input_ids=raw[1][None], use_cache=False).logits[0]
        },
        steps=True,
        **more,
    )


LONG = ((70, 4), (12, 45), (5, 6))
"""lengths that reach the last bucket of distances on either side"""


def t5_case(preset, config: dict, **more) -> Case:
    hf = library("transformers")
    small = {"vocab_size": VOCAB, "d_model": DIM, "d_kv": 8, "d_ff": HIDDEN, "num_layers": DEPTH, "num_heads": HEADS}
    config = hf.T5Config(**(small | config), decoder_start_token_id=0)
    return two_streams(
        lambda: untied(hf.T5ForConditionalGeneration(config), preset),
        preset,
        unscaled=True,
        note="transformers.T5ForConditionalGeneration",
        **more,
    )


def untied(reference, preset):
    """The head as checkpoints of version 1.1 have it; the library ties it to the table until it has read them."""
    if not preset.tied:
        reference.lm_head.weight = torch.nn.Parameter(torch.randn_like(reference.lm_head.weight))
    return reference


def buckets(**fields):
    """These fields of every stream's buckets."""

    def edit(r: Residual) -> Residual:
        positions = tuple(p.replace(**fields) for p in getattr(r.mixer, "positions", ()))
        return r.replace(mixer=r.mixer.replace(positions=positions)) if positions else r

    return residuals(edit)


def crossed(preset):
    """Buckets between the streams too."""
    between = (Buckets(preset.buckets, preset.max_distance, bidirectional=False),)
    return residuals(lambda r: r.replace(mixer=r.mixer.replace(positions=between)) if r.name == "cross" else r)(preset)


BUCKETS = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}


@case("t5")
def t5() -> Case:
    return t5_case(
        presets.t5(**SMALL, decoder_depth=2, head_dim=8, hidden=HIDDEN, buckets=8, max_distance=20),
        BUCKETS | {"num_decoder_layers": 2},
        lengths=LONG,
        tuned=lambda reference: reference.shared.weight.mul_(0.1),  # small rows, where a norm's epsilon counts
        wrong={
            "scores scaled": mixers(Attention, scale=None),
            "logits not scaled": lambda p: p.replace(scaled=False),
            "decoder buckets bidirectional": buckets(bidirectional=True),
            "encoder buckets one-sided": buckets(bidirectional=False),
            "max distance 19": lambda p: p.replace(max_distance=19),
            "no buckets across": crossed,
            "gelu": lambda p: p.replace(act="gelu_tanh"),
            "eps 1e-5": lambda p: p.replace(eps=1e-5),
            "norms behind the sums": post_norm,
        },
    )


@case("t5: version 1.1")
def t5_v1_1() -> Case:
    preset = presets.t5(**SMALL, hidden=HIDDEN, head_dim=8, act="gelu_tanh", gated=True, tied=False)
    wrong = {
        "erf gelu": lambda p: p.replace(act="gelu"),
        "not gated": lambda p: p.replace(gated=False),
        "logits scaled": lambda p: p.replace(scaled=True),
    }
    return t5_case(preset, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, wrong=wrong)


@case("t5: version 1.1, tied")
def t5_v1_1_tied() -> Case:
    """As transformers makes it anew."""
    preset = presets.t5(**SMALL, hidden=HIDDEN, head_dim=8, act="gelu_tanh", gated=True, scaled=False)
    return t5_case(preset, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})


def t5_published(preset, config: dict, vocab: int = 4096) -> Case:
    sizes = {"d_kv": 64, "vocab_size": vocab, "d_model": preset.dim, "d_ff": preset.hidden or 4 * preset.dim}
    sizes |= {"num_layers": preset.depth, "num_heads": preset.heads}
    return t5_case(preset, sizes | config, vocab=vocab, lengths=((300, 20), (40, 200)))


@published("t5-small")
def t5_small() -> Case:
    return t5_published(presets.t5(), {}, 32128)


@published("t5-v1_1-small")
def t5_v1_1_small() -> Case:
    preset = presets.t5(**presets.t5.published["t5-v1_1-small"].fields)
    return t5_published(preset, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, 32128)


@published("t5-base")
def t5_base() -> Case:
    return t5_published(of_size("t5-base"), {})


@published("t5-v1_1-base")
def t5_v1_1_base() -> Case:
    return t5_published(of_size("t5-v1_1-base"), {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})


def of_size(name: str):
    """A published T5 with two blocks on either side."""
    return presets.t5(**{**presets.t5.published[name].fields, "depth": 2})


def marian_case(preset, config: dict, vocab: int = VOCAB, **more) -> Case:
    hf = library("transformers")
    config = hf.MarianConfig(**config, vocab_size=vocab, pad_token_id=0, decoder_start_token_id=0, scale_embedding=True)
    fresh = lambda: hf.MarianMTModel(config)  # noqa: E731
    return two_streams(fresh, preset, vocab, tuned=sine_tables, note="transformers.MarianMTModel", **more)


def sine_tables(reference) -> None:
    """Tables of sinusoids are parameters there, and no noise belongs on them; the head's bias is a buffer."""
    reference.final_logits_bias.normal_()
    for stream in (reference.model.encoder, reference.model.decoder):
        stream.embed_positions.weight.copy_(stream.embed_positions.create_weight())


def sides(**sizes: int) -> dict:
    """Settings that the library keeps once for each stream."""
    return {f"{side}_{name}": size for name, size in sizes.items() for side in ("encoder", "decoder")}


@case("marian")
def marian() -> Case:
    return marian_case(
        presets.marian(**SMALL, decoder_depth=2, hidden=HIDDEN, positions=40, attention_dropout=0.1, mlp_dropout=0.1),
        {"d_model": DIM, "max_position_embeddings": 40, "activation_function": "swish"}
        | {"attention_dropout": 0.1, "activation_dropout": 0.1}
        | sides(layers=DEPTH, attention_heads=HEADS, ffn_dim=HIDDEN)
        | {"decoder_layers": 2},
        wrong={
            "embeddings not scaled": lambda p: p.replace(scaled=False),
            "relu": lambda p: p.replace(act="relu"),
            "norms in front": pre_norm,
            "a norm at the end": streams(lambda s: s.replace(norm=Norm())),
            "scores not scaled": bare_scores,
            "every token sees all": full,
            "eps 1e-4": residuals(lambda r: r.replace(post=Norm(eps=1e-4))),
            "head without its bias": headless,
            "no positions": streams(lambda s: s.replace(steps=())),
        },
    )


def headless(preset):
    """The head without its bias."""
    return streams(lambda s: s.replace(heads={n: (Tied("tokens", VOCAB),) for n in s.heads}))(preset)


@published("opus-mt")
def opus_mt() -> Case:
    sizes = sides(layers=6, attention_heads=8, ffn_dim=2048)
    return marian_case(
        presets.marian(),
        {"d_model": 512, "max_position_embeddings": 512, "activation_function": "swish"} | sizes,
        58101,
        idle=2 * 512 * 512 - 58101,  # tables of sinusoids are parameters there, and the head's bias is a buffer
    )


def vectors(raw: tuple[Tensor, Tensor]) -> Document:
    """Rows as wide as the streams, as they are."""
    one, two = (TokenSequence((Span("rows", features=x),)) for x in raw)
    return Document({"encoder": one, "decoder": two})


def transformer_case(preset, lengths=PAIRS, **more) -> Case:
    depth, hidden = preset.decoder_depth or preset.depth, preset.hidden or 4 * preset.dim

    def fresh() -> torch.nn.Module:
        with quiet():  # it warns of the fast path that it does not take
            return torch.nn.Transformer(
                preset.dim, preset.heads, preset.depth, depth, hidden, batch_first=True, norm_first=preset.norm_first
            )

    def answer(reference, raw: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(len(raw[1]), dtype=raw[1].dtype)
        memory = reference.encoder(raw[0][None])
        return {"encoder": memory[0], "decoder": reference.decoder(raw[1][None], memory, mask, tgt_is_causal=True)[0]}

    def rows(n: int, seed: int) -> Tensor:
        return noise(n, preset.dim, seed=seed)

    return Case(
        fresh,
        preset,
        {"rows": Channel(width=(preset.dim,), embed=())},
        [(rows(n, n), rows(m, 100 + m)) for n, m in lengths],
        vectors,
        answer,
        hidden=("encoder", "decoder"),
        steps=True,
        note="torch.nn.Transformer",
        **more,
    )


def wrong_transformer(other) -> dict:
    return {
        "norms on the other side": other,
        "no norm at the end": streams(lambda s: s.replace(norm=None)),
        "gelu": lambda p: p.replace(act="gelu"),
        "eps 1e-4": lambda p: p.replace(eps=1e-4),
        "scores not scaled": bare_scores,
        "every token sees all": full,
        "with sinusoids": lambda p: p.replace(sinusoid=True),
    }


@case("transformer")
def transformer() -> Case:
    preset = presets.transformer(**SMALL, decoder_depth=2, hidden=HIDDEN, sinusoid=False)
    return transformer_case(preset, wrong=wrong_transformer(pre_norm))


@case("transformer: norms in front")
def transformer_pre_norm() -> Case:
    preset = presets.transformer(**SMALL, decoder_depth=2, hidden=HIDDEN, sinusoid=False, norm_first=True)
    return transformer_case(preset, wrong=wrong_transformer(post_norm))


@published("transformer-base")
def transformer_base() -> Case:
    return transformer_case(presets.transformer(sinusoid=False), ((40, 12), (17, 30)))
