"""Episodes of pictures as a film strip: every step a frame with its patches, and boxes for its other tokens.

Shape letters: M steps, H height, W width, C colours of the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ACROSS, GAP, BAND, LEAST = 8, 8, 16, 72
"""Steps in a line, pixels between them, of a box with words, and of the narrowest frame."""
INK, PAPER, FILL = (40, 40, 40), (255, 255, 255), (232, 238, 245)
Boxes = list[tuple[int, int, int, int]]


def film_strip(
    pictures: np.ndarray, side: int, above: Mapping[str, Sequence[str]], below: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, dict[str, Boxes]]:
    """uint8 [h, w, 3], and for every part a box (x, y, width, height) a token; the patches are the part `observation`.

    `pictures` are uint8 [M, H, W, C], `side` is that of a patch, `above` and `below` hold one label a step and part.
    """
    steps, height, width = pictures.shape[:3]
    scale = -(-LEAST // width)
    across, down = width * scale, height * scale + BAND * (len(above) + len(below))
    lines, columns = -(-steps // ACROSS), min(steps, ACROSS)
    strip = Image.new("RGB", (columns * (across + GAP) + GAP, lines * (down + GAP) + GAP), PAPER)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(9)
    boxes: dict[str, Boxes] = {part: [] for part in (*above, "observation", *below)}

    def words(part: str, labels: Sequence[str], step: int, x: int, y: int) -> int:
        if step < len(labels):
            pen.rectangle((x, y, x + across - 1, y + BAND - 1), fill=FILL)
            pen.text((x + 3, y + 3), labels[step].replace("\n", " ")[: across // 6], fill=INK, font=font)
            boxes[part].append((x, y, across, BAND))
        return y + BAND

    for step in range(steps):
        x, y = GAP + step % ACROSS * (across + GAP), GAP + step // ACROSS * (down + GAP)
        for part, labels in above.items():
            y = words(part, labels, step, x, y)
        frame = Image.fromarray(_coloured(pictures[step])).resize((across, height * scale), Image.Resampling.NEAREST)
        strip.paste(frame, (x, y))
        boxes["observation"] += [
            (x + w * scale, y + h * scale, min(side, width - w) * scale, min(side, height - h) * scale)
            for h in range(0, height, side)
            for w in range(0, width, side)
        ]
        y += height * scale
        for part, labels in below.items():
            y = words(part, labels, step, x, y)
    return np.asarray(strip), boxes


def _coloured(picture: np.ndarray) -> np.ndarray:
    """[H, W, C] -> [H, W, 3]: as it is, or grey, the mean of its colours."""
    if picture.shape[2] == 3:
        return np.ascontiguousarray(picture)
    return np.repeat(picture.mean(2, keepdims=True).astype(np.uint8), 3, 2)
