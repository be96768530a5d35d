"""Letters and digits drawn by the program: a source and a target domain that need no download.

Each image shows one character of one font (the one embedded in Pillow), varied in size, width, stroke, slant,
rotation, place, colours, background gradient and noise. Image i follows from (data seed, split, i) alone, so
a larger set starts with the smaller one, and splits share no image. Only raw bits of PCG64 and IEEE
additions, multiplications, divisions and square roots are used, so that every machine draws the same pixels.

Shapes: M images, S pixels wide and high, G grid points of a glyph; words are uint64.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from engine.config import DataConfig
from engine.data.base import Bytes, Ids, Loading, Pool, Pools, datasets
from engine.randomness import stream_seed

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

#: Side of the grid on which a glyph's distances are kept; a capital letter is about half as high.
GRID = 96
#: Random words for the geometry and colours of one image; a change redraws every image.
WORDS = 24
#: Weight of red, green and blue in luminance (ITU-R BT.709).
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
#: Least distance in luminance between a character and the background behind its centre, before noise.
CONTRAST = 0.35
CHUNK = 512


@datasets.register("letters", title="letters", source="drawn by this program (A-Z, font Aileron)")
def open_letters(loading: Loading) -> Pools:
    """Capital letters A to Z: the built-in source domain."""
    return _pools(string.ascii_uppercase, "letters", loading.config)


@datasets.register("digits", title="digits", source="drawn by this program (0-9, font Aileron)")
def open_digits(loading: Loading) -> Pools:
    """Digits 0 to 9: the built-in target domain."""
    return _pools(string.digits, "digits", loading.config)


def _pools(characters: str, title: str, config: DataConfig) -> Pools:
    def pool(split: str, count: int) -> Pool:
        labels = np.arange(count, dtype=np.int64) % len(characters)
        return Pool(
            labels, lambda ids: (draw(characters, ids, config.image_size, config.seed, split=split), {})
        )

    return Pools(
        title,
        tuple(characters),
        train=pool("train", config.train_size or 4000),
        test=pool("test", config.test_size or 1000),
        validation=pool("validation", config.validation_size),
    )


def draw(characters: str, ids: Ids, size: int, seed: int, *, split: str) -> Bytes:
    """Draw the images of the given ids; image i shows character i modulo the number of characters.

    Args:
        characters: one per class.
        ids: int64 [M], ascending.
        size: S.
        seed: the data seed.
        split: "train", "validation" or "test".

    Returns:
        uint8 [M, 3, S, S].
    """
    glyphs = [_glyph(character) for character in characters]
    fields = np.stack([glyph.distance for glyph in glyphs])
    extents = np.array([(glyph.half_width, glyph.half_height) for glyph in glyphs])
    images = np.empty((len(ids), 3, size, size), np.uint8)
    noise_words = -(-3 * size * size // 4)
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        words = _words(part, WORDS, seed, characters, split, "shape")
        noise = _words(part, noise_words, seed, characters, split, "noise")
        classes = part % len(characters)
        values = _paint(fields, extents[classes], classes, size, words) + _noise(noise, words, size)
        images[start : start + CHUNK] = np.floor(np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return images


def _words(ids: Ids, per_image: int, *stream: int | str) -> Words:
    """Random words [len(ids), per_image], those of image i at their place in the stream whatever else is drawn."""
    if len(ids) == 0:
        return np.empty((0, per_image), np.uint64)
    first, last = int(ids[0]), int(ids[-1])
    bits = np.random.PCG64(stream_seed(*stream))
    bits.advance(first * per_image)
    block: Words = bits.random_raw((last - first + 1) * per_image).reshape(-1, per_image)
    return block[ids - first]


def _paint(fields: Floats, extents: Floats, classes: Ids, size: int, words: Words) -> Floats:
    """Draw characters on backgrounds, in [0, 1] without noise: [M, 3, S, S]."""
    unit = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    values = iter(unit.T[:, :, None])

    def between(low: float, high: float) -> Floats:
        value: Floats = low + (high - low) * next(values)
        return value

    # Geometry in units of the image's side, measured from its centre; glyphs in units of their cap height.
    tangent = between(-0.12, 0.12)  # of half the angle: up to 14 degrees, without a sine
    cosine, sine = (1 - tangent * tangent) / (1 + tangent * tangent), 2 * tangent / (1 + tangent * tangent)
    slant, stretch = between(-0.25, 0.25), between(0.85, 1.15)
    bold = between(-0.015, 0.045)
    half_width = extents[:, :1] * stretch + extents[:, 1:] * np.abs(slant) + np.abs(bold)
    half_height = extents[:, 1:] + np.abs(bold)
    reach_x = cosine * half_width + np.abs(sine) * half_height
    reach_y = np.abs(sine) * half_width + cosine * half_height
    scale = np.minimum(between(0.58, 0.88), 0.48 / np.maximum(reach_x, reach_y))
    shift_x = between(-1.0, 1.0) * np.minimum(0.5 - scale * reach_x, 0.14)
    shift_y = between(-1.0, 1.0) * np.minimum(0.5 - scale * reach_y, 0.14)

    line = (np.arange(size, dtype=np.float64) + 0.5) / size - 0.5
    x, y = np.tile(line, size)[None], np.repeat(line, size)[None]
    across, down = (x - shift_x) / scale, (y - shift_y) / scale
    turned_x, turned_y = cosine * across + sine * down, cosine * down - sine * across
    distance = _sample(fields, classes, (turned_x - slant * turned_y) / stretch, turned_y)
    ink = np.clip((distance + bold) * scale * size + 0.5, 0.0, 1.0)[:, None]

    # Luminance: dark on light or light on dark, with a background that changes along one direction.
    contrast = between(CONTRAST, 0.75)
    darkest = between(0.05, 0.95) * (1 - contrast)
    inverted = between(0.0, 1.0) < 0.5
    paper_level = np.where(inverted, darkest, darkest + contrast)
    ink_level = np.where(inverted, darkest + contrast, darkest)
    slope = between(-0.16, 0.16) * x + between(-0.16, 0.16) * y
    paper = _tint(paper_level, [between(-0.5, 0.5) for _ in range(3)])[..., None] + slope[:, None]
    pen = _tint(ink_level, [between(-0.5, 0.5) for _ in range(3)])[..., None]
    picture: Floats = (paper + ink * (pen - paper)).reshape(-1, 3, size, size)
    return picture


def _tint(level: Floats, offsets: list[Floats]) -> Floats:
    """Colours [M, 3] of the given luminance [M, 1], as strong as the offsets ask and [0, 1] allows."""
    offset = np.concatenate(offsets, axis=1)
    grey = offset[:, :1] * LUMINANCE[0] + offset[:, 1:2] * LUMINANCE[1] + offset[:, 2:] * LUMINANCE[2]
    offset = offset - grey
    room = np.where(offset > 0, 1 - level, level) / np.maximum(np.abs(offset), 1e-9)
    tint: Floats = level + offset * np.minimum(room.min(axis=1, keepdims=True), 1.0)
    return tint


def _noise(words: Words, shape_words: Words, size: int) -> Floats:
    """Noise of mean zero, the sum of two uniform bytes, with a strength of its own per image: [M, 3, S, S]."""
    octets = words.astype("<u8").view(np.uint8)[:, : 6 * size * size].reshape(len(words), 2, 3, size, size)
    strength = (shape_words[:, -1] >> np.uint64(11)).astype(np.float64) * 2.0**-53
    total = octets[:, 0].astype(np.float64) + octets[:, 1] - 255.0
    return total * ((0.02 + 0.08 * strength) / 255.0)[:, None, None, None]


def _sample(fields: Floats, classes: Ids, x: Floats, y: Floats) -> Floats:
    """Signed distance to the outline [M, P], between grid points bilinearly, at places in units of cap height."""
    column = np.clip(x * (GRID / 2) + (GRID - 1) / 2, 0.0, GRID - 1.001)
    row = np.clip(y * (GRID / 2) + (GRID - 1) / 2, 0.0, GRID - 1.001)
    left, top = column.astype(np.int64), row.astype(np.int64)
    right_share, low_share = column - left, row - top
    flat = fields.reshape(-1)
    corner = (classes[:, None] * GRID + top) * GRID + left
    upper = flat[corner] + right_share * (flat[corner + 1] - flat[corner])
    lower = flat[corner + GRID] + right_share * (flat[corner + GRID + 1] - flat[corner + GRID])
    distance: Floats = upper + low_share * (lower - upper)
    return distance


@dataclass(frozen=True, slots=True)
class _Glyph:
    """Outline of a character: distance [G, G] to it, positive inside, and half its size, in cap heights."""

    distance: Floats
    half_width: float
    half_height: float


@cache
def _glyph(character: str) -> _Glyph:
    """Render a character once, threshold it, and measure each grid point's distance to its edge."""
    scale = 4
    cap = GRID // 2 * scale
    font = ImageFont.load_default(
        size=276
    )  # a capital letter of this font is 0.695 em, so `cap` pixels, high
    canvas = Image.new("L", (GRID * scale, GRID * scale))
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = pen.textbbox((0, 0), character, font=font)
    centre = GRID * scale / 2
    place = (round(centre - (left + right) / 2), round(centre - (top + bottom) / 2))
    pen.text(place, character, fill=255, font=font)
    inside = np.asarray(canvas) >= 128
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    covered = inside.reshape(GRID, scale, GRID, scale).sum(axis=(1, 3)) * 2 >= scale * scale
    signed = np.sqrt(_squared_distance(~covered)) - np.sqrt(_squared_distance(covered))
    signed = signed - np.where(covered, 0.5, -0.5)
    return _Glyph(
        signed * (2.0 / GRID),
        float(columns[-1] - columns[0] + 1) / (2 * cap),
        float(rows[-1] - rows[0] + 1) / (2 * cap),
    )


def _squared_distance(target: npt.NDArray[np.bool_]) -> Floats:
    """Squared distance of each grid point to the nearest one in `target` (Felzenszwalb and Huttenlocher 2012)."""
    line = np.arange(len(target))
    apart = (line[:, None] - line[None, :]) ** 2
    in_row = np.where(target[:, None, :], apart[None], 4 * GRID * GRID).min(axis=2)
    squared: Floats = (in_row[None, :, :] + apart[:, :, None]).min(axis=1).astype(np.float64)
    return squared
