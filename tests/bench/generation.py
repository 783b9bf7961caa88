"""Decoding with GPT-2's weights against Hugging Face's `generate`: greedy and with beams, at its size and at a tiny one.

Both give the same tokens before anything is timed. The tiny model shows what a step costs beside the arithmetic.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch

from omnitok.assemble import build
from omnitok.beam import Rules, beam_search
from omnitok.generate import Sampler, Session, generate_all
from omnitok.objectives import Next
from omnitok.presets.reference.gpt2 import GPT2
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Tokenizer
from omnitok.weights import import_weights
from tests.bench.timing import options, report

BATCH, PROMPT, NEW = 8, 32, 64
SIZES = {"small (124 M)": (50257, 768, 12, 12), "tiny (0.2 M)": (1000, 64, 2, 4)}


class Ids(Tokenizer, frozen=True):
    """Ids that never end."""

    name: ClassVar[str] = "tokens"
    vocab: int

    def channels(self) -> dict[str, Channel]:
        return {"tokens": Channel(vocab=self.vocab)}

    def encode(self, raw: Sequence[int]) -> TokenSequence:
        return TokenSequence((Span("tokens", torch.as_tensor(raw)),))

    def place(self, k: int, meta: Any) -> tuple[str, dict[str, Any]]:
        return "tokens", {}

    def samples(self, seed: int = 0) -> list[list[int]]:
        return [[1]]


def section(size: tuple[int, int, int, int], beams: int) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """Contenders and facts for one size and number of beams."""
    from transformers import GPT2Config, GPT2LMHeadModel

    vocab, dim, depth, heads = size
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=vocab, n_embd=dim, n_layer=depth, n_head=heads, bos_token_id=None, eos_token_id=None)
    reference = GPT2LMHeadModel(config).eval()
    tokens = Ids(vocab=vocab)
    model = build(GPT2(dim=dim, depth=depth, heads=heads), tokens.channels(), Next("tokens").heads("", tokens.channels())).eval()
    import_weights(model, reference.state_dict())
    prompts = torch.randint(vocab, (BATCH, PROMPT))
    mask = torch.ones_like(prompts)

    @torch.no_grad()
    def theirs() -> list[list[int]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = reference.generate(
                prompts, attention_mask=mask, max_new_tokens=NEW, do_sample=False, num_beams=beams, pad_token_id=0
            )
        return out[:, PROMPT:].tolist()

    def ours() -> list[list[int]]:
        session = Session(model, BATCH).feed([tokens.encode(p) for p in prompts])
        if beams == 1:
            made = generate_all(session, tokens, "tokens", NEW, Sampler(0.0))
        else:
            made = [found[0].tokens for found in beam_search(session, tokens, "tokens", NEW, Rules(beams))]
        return [m.spans[0].ids.tolist() for m in made if m.spans[0].ids is not None]

    assert ours() == theirs(), "the answers differ"
    return {"transformers": theirs, "omnitok": ours}, {"documents": BATCH, "prompt": PROMPT, "new tokens": NEW, "beams": beams}


if __name__ == "__main__":
    asked = options(__doc__)
    sections = {
        f"{name}, {beams} beam{'s' * (beams > 1)}": section(size, beams) for name, size in SIZES.items() for beams in (1, 4)
    }
    report("generation", sections, asked)
