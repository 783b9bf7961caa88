"""The model's side of a rollout: what the last steps of every episode were, and what a head answers behind them.

All episodes stand at the same step, so a step is one batch of equal documents whose structure is made once and filled
with new content. Shape letters: n episodes, K steps of the context.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omnitok.batch import Document, PackedBatch, collate
from omnitok.errors import ConfigError
from omnitok.layout import Layout
from omnitok.model import Transformer
from omnitok.nn.attention import Attention
from omnitok.nn.cache import Cache
from omnitok.nn.context import Context
from omnitok.nn.inline import Functions
from omnitok.sequence import Span, TokenSequence
from omnitok.session import refuse_unsteppable

from .lastrow import LastRows, ending
from .sliding import Slide, slides, sliding_blocks

KEPT = 64
"""Most templates held: one for every kind of document and number of episodes."""


@dataclass(frozen=True)
class Template:
    """Equal documents whose content and steps are written anew for every answer."""

    batch: PackedBatch
    step: Tensor
    """[N] steps as if the first one were 0; -1 where a token has none"""
    last: Tensor
    """[n] row of the last token of every document"""
    ends: Layout
    """of those rows"""


class Window:
    """n episodes that grow step by step, read through the model's context.

    While a document fits into `context` tokens its past lies in a cache. Beyond, the last K steps that fit are computed
    anew for every answer, exactly as a training window of them would be: a cache without its oldest tokens is another
    computation, since the keys that are left have seen what was dropped. `banded` goes on with the cache: right
    for a model whose every layer sees a band only, which is how such a model was trained on whole documents.
    `before` are the tokens of one step in front of its action, whose content is not read, `prompt` stands in front of every
    document.
    """

    def __init__(
        self,
        model: Transformer,
        before: TokenSequence,
        action: str,
        context: int | None = None,
        attend: Mapping[str, str] | None = None,
        prompt: TokenSequence | None = None,
        banded: bool = False,
    ) -> None:
        refuse_unsteppable(model)
        self.model, self.action, self.head = model.eval(), action, model.head(action)
        self.before, self.of_step = before.channels, {span.channel: span for span in before.spans}
        self.attend = dict(attend if attend is not None else {action: "causal"})
        self.rows = LastRows(model)
        self.unit = len(before) + 1
        self.prompt = prompt or TokenSequence()
        self.device = next(model.parameters()).device
        self.steps = None if context is None else (context - len(self.prompt) + 1) // self.unit
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"a context of {context} tokens has no room for a step of {len(before)} behind the prompt")
        stays = self.steps != 1 and slides(self.rows, (*self.before, action))  # of one step no token stays
        self.slide = Slide(len(self.prompt)) if stays else None
        self.blocks = self.rows.blocks[:-1] if self.slide is None else sliding_blocks(self.rows, self.slide)
        self.banded = banded
        self.templates: dict[tuple[str, int], Template] = {}
        self.functions, self.asking = Functions(joined=True), Context(tables=model.tables())
        if banded:
            refuse_unbanded(model)
        if own := sorted({*self.prompt.channels} & {*self.before, action}):
            raise ConfigError(f"a prompt holds {', '.join(own)}, which the steps behind it write: give it channels of its own")

    @torch.inference_mode()
    def begin(self, n: int) -> None:
        """n episodes before their first step. The model's weights stay what they are until the next ones begin."""
        self.n, self.step = n, 0
        self.functions.refresh()
        self.cache: Cache | None = self.model.cache(n)
        self.held: dict[str, deque[Tensor]] = {c: deque(maxlen=self.steps) for c in (*self.before, self.action)}
        if self.slide is not None:
            self.slide.begin(n)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these episodes only, named by their places among those that are left."""
        chosen = torch.tensor(rows, dtype=torch.long, device=self.device)
        self.n = len(rows)
        self.held = {c: deque((x[chosen] for x in held), held.maxlen) for c, held in self.held.items()}
        if self.cache is not None:
            self.cache.select(chosen)
        if self.slide is not None:
            self.slide.select(chosen)

    @torch.inference_mode()
    def answer(self, new: Mapping[str, Tensor]) -> Tensor:
        """The action head's answers [n, ...] behind one more step.

        `new` holds for each channel of `before` the content [n * P, ...] of this step, P tokens an episode, and, from the
        second step on, for the action channel that of the step before.
        """
        new = {c: new[c].to(self.device) for c in (self.action, *self.before) if c in new}
        for c, x in new.items():
            self.held[c].append(x.view(self.n, -1, *x.shape[1:]))
        self.step += 1
        if self.steps is None or self.step <= self.steps or self.banded:
            template, batch = self._newest(new)
            hidden = self.rows(batch, template.last, template.ends, self.cache, self.functions)
        else:
            self.cache = None
            hidden = self._read_window(new)
        return self.functions[self.head](hidden, self.asking)

    def _newest(self, new: Mapping[str, Tensor]) -> tuple[Template, PackedBatch]:
        """The tokens of this step as documents of their own."""
        template = self._template("next" if self.step > 1 else "first", lambda: {c: self.held[c][-1] for c in new})
        return template, self._filled(template, new, max(0, self.step - 2))

    def _read_window(self, new: Mapping[str, Tensor]) -> Tensor:
        """[n, D] the last rows of the last K steps."""
        assert self.steps is not None
        shift, template = self.step - self.steps, self._template("window", self._window)
        slid = self.slide is not None and bool(self.slide.kept)
        batch = self._newest(new)[1] if slid else self._filled(template, flat(self._window()), shift)
        if self.rows.block is None:
            return self.model.hidden(batch, functions=self.functions)[self.model.main][template.last]
        packed = batch.streams[self.model.main]
        x = self.rows.embedded(packed, self.rows.context(packed.layout, self.functions))
        x, layout = (x, packed.layout) if self.slide is None else (self.slide.add("x", x), self._moved(template, shift))
        return self.rows.read(x, template.last, template.ends, self.blocks, self.rows.context(layout, self.functions))

    def _window(self) -> dict[str, Tensor]:
        """Channel -> content [n, K * P, ...] of the last K steps; the action of the last one is not known yet."""
        found = {c: list(self.held[c]) for c in self.before}
        acted = list(self.held[self.action])
        acted = acted[len(acted) + 1 - len(found[self.before[0]]) :]
        return {c: torch.cat(x, 1) for c, x in {**found, **({self.action: acted} if acted else {})}.items()}

    def _filled(self, template: Template, values: Mapping[str, Tensor], shift: int) -> PackedBatch:
        """The template's documents with this content [N of the channel, ...], and their steps moved on."""
        content = template.batch.streams[self.model.main].content
        for c, x in values.items():
            content[c].value.copy_(x)
        self._moved(template, shift)
        return template.batch

    def _moved(self, template: Template, shift: int) -> Layout:
        """The template's layout with the steps moved on."""
        layout = template.batch.streams[self.model.main].layout
        step = torch.add(template.step, shift, out=layout.axes["step"])
        if len(self.prompt):
            torch.where(template.step < 0, template.step, step, out=step)
        return layout

    def _template(self, kind: str, values: Callable[[], Mapping[str, Tensor]]) -> Template:
        """The documents of this kind; `values` are asked for where they are met for the first time."""
        key = (kind, self.n)
        if key not in self.templates:
            if len(self.templates) >= KEPT:
                self.templates.clear()
            self.templates[key] = self._made(kind, values())
        return self.templates[key]

    def _made(self, kind: str, values: Mapping[str, Tensor]) -> Template:
        """Interleaved steps: the first of `next` is an action alone, every other one lacks its action at the end only."""
        main, behind = self.model.main, kind == "next"
        lead = self.prompt if not behind else TokenSequence()

        def spans(row: int) -> TokenSequence:
            return lead + self._spans({c: x[row].cpu() for c, x in values.items()}, behind)

        documents = [Document({main: spans(row)}, attend=self.attend) for row in range(self.n)]
        batch = collate(documents, self.model.schema, sort=False)
        batch = batch.replace(streams={main: batch.streams[main]}).to(self.device)
        layout = batch.streams[main].layout
        last = layout.offsets()[1:].long() - 1
        return Template(batch, layout.axes["step"].clone(), last, ending(layout, last))

    def _spans(self, values: Mapping[str, Tensor], behind: bool = False) -> TokenSequence:
        """Channel -> content [K * P, ...] of one document as interleaved spans, the first step being 0."""
        found, first = [], {c: sum(len(self.of_step[b]) for b in self.before[:i]) for i, c in enumerate(self.before)}
        for c, content in values.items():
            late, one = int(behind and c != self.action), self.of_step.get(c)
            tokens = len(one) if one else 1
            steps, within = len(content) // tokens, torch.arange(len(content)) % tokens
            step = torch.arange(steps).repeat_interleave(tokens)
            place = first.get(c, 0 if behind else self.unit - 1)
            axes = {name: x.repeat(steps) for name, x in one.axes.items()} if one else {}
            ids, features = (None, content) if content.is_floating_point() or (one and one.ids is None) else (content, None)
            found.append(Span(c, ids, features, {**axes, "step": step + late}, step * self.unit + place + late + within))
        return TokenSequence(tuple(found))

    def document(self, row: int = 0) -> Document:
        """The last steps of an episode as the document that was, or would be, read to choose its last action."""
        values = {c: x[row].cpu() for c, x in self._window().items()}
        spans = self._spans(values).spans
        first = self.step - min(self.step, self.steps or self.step)
        moved = [s.replace(axes={"step": s.axes["step"] + first}) for s in spans]
        return Document({self.model.main: self.prompt + TokenSequence(tuple(moved))}, attend=self.attend)


def flat(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """[n, K * P, ...] -> [n * K * P, ...]."""
    return {c: x.flatten(0, 1) for c, x in values.items()}


def refuse_unbanded(model: Transformer) -> None:
    """ConfigError where some layer sees all that came before."""
    mixers = list(model.config.streams[model.main].mixers())
    if not all(not isinstance(m, Attention) or m.window is not None for m in mixers):
        raise ConfigError("an evicted cache is right for a model whose every attention has a window: this one's see everything")
