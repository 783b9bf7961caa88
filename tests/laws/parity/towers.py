"""Parity cases: towers whose answers are compared."""

import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Ask, Document
from omnitok.model import Model
from omnitok.nn.steps import Pool, Unit
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, HIDDEN, LENGTHS, VOCAB, Answers, Case, case, ids, library, noise, published
from tests.laws.parity.causal import set_to
from tests.laws.parity.vision import MEAN, STD, patches
from tests.laws.parity.wrong import changed, post_norm, streams

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


@published("clip-vit-base-patch32")
def clip_base() -> Case:
    return clip_model({}, presets.clip(), 32, 224, 49408, lengths=(9, 16))
