"""What an inspector draws of an episode: rows of labels, or a film strip where its observations are pictures.

Shape letters: M steps, H height, W width, C colours of the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from omnitok.sequence import TokenSequence
from omnitok.tokenizer import Picture

ACROSS, GAP, BAND, LEAST = 8, 8, 16, 72
"""Steps in a line, pixels between them, of a box with words, and of the narrowest frame."""
INK, PAPER, FILL = (40, 40, 40), (255, 255, 255), (232, 238, 245)


def strip(tokens: TokenSequence, contents: Mapping[str, Iterable[Tensor]], title: str) -> Picture:
    """A row of labels for every part, one column per step."""
    rows = [[_label(x) for x in content] for content in contents.values()]
    cells = {part: [(i, column) for column in range(len(rows[i]))] for i, part in enumerate(contents)}
    return Picture("strip", rows, _marks(tokens, cells), title)


def film_strip(
    tokens: TokenSequence, contents: Mapping[str, Iterable[Tensor]], pictures: np.ndarray, side: int, title: str
) -> Picture:
    """Every step a frame with its patches, the return-to-go above it and other parts below.

    `pictures` are uint8 [M, H, W, C], `side` is that of a patch.
    """
    labels = {part: [_label(x) for x in content] for part, content in contents.items() if part != "observation"}
    above = [part for part in labels if part == "return_to_go"]
    below = [part for part in labels if part not in above]
    steps, height, width = pictures.shape[:3]
    scale = -(-LEAST // width)
    across, down = width * scale, height * scale + BAND * len(labels)
    lines, columns = -(-steps // ACROSS), min(steps, ACROSS)
    sheet = Image.new("RGB", (columns * (across + GAP) + GAP, lines * (down + GAP) + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(9)
    boxes: dict[str, list[tuple[int, int, int, int]]] = {part: [] for part in contents}

    def words(part: str, step: int, x: int, y: int) -> None:
        if step < len(labels[part]):
            pen.rectangle((x, y, x + across - 1, y + BAND - 1), fill=FILL)
            pen.text((x + 3, y + 3), labels[part][step].replace("\n", " ")[: across // 6], fill=INK, font=font)
            boxes[part].append((x, y, across, BAND))

    for step in range(steps):
        x, y = GAP + step % ACROSS * (across + GAP), GAP + step // ACROSS * (down + GAP)
        for i, part in enumerate(above):
            words(part, step, x, y + i * BAND)
        y += BAND * len(above)
        frame = Image.fromarray(_coloured(pictures[step]))
        sheet.paste(frame.resize((across, height * scale), Image.Resampling.NEAREST), (x, y))
        boxes["observation"] += [
            (x + w * scale, y + h * scale, min(side, width - w) * scale, min(side, height - h) * scale)
            for h in range(0, height, side)
            for w in range(0, width, side)
        ]
        for i, part in enumerate(below):
            words(part, step, x, y + height * scale + i * BAND)
    return Picture("image", np.asarray(sheet), _marks(tokens, boxes), title)


def _marks(tokens: TokenSequence, boxes: Mapping[str, Sequence[Any]]) -> list[Any]:
    """What marks every token: those of each part in order."""
    marks: list[Any] = [None] * len(tokens)
    for span, places in zip(tokens.spans, tokens.places, strict=True):
        for place, box in zip(places.tolist(), boxes[span.channel.partition("/")[2]], strict=True):
            marks[place] = box
    return marks


def _label(x: Tensor) -> str:
    """A few numbers of a token, one per line."""
    values = x.reshape(-1).tolist()
    return "\n".join([*(f"{v:.3g}" for v in values[:4]), *(["..."] if len(values) > 4 else [])])


def _coloured(picture: np.ndarray) -> np.ndarray:
    """[H, W, C] -> [H, W, 3]: as it is, or grey, the mean of its colours."""
    if picture.shape[2] == 3:
        return np.ascontiguousarray(picture)
    return np.repeat(picture.mean(2, keepdims=True).astype(np.uint8), 3, 2)
