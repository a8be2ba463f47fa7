"""Pictures drawn by rule: silhouettes of cats, dogs and horses, and scribbles, which are nothing in particular.

An animal stands in profile on a canvas of [-1, 1]², its head to the right: a body, a head, legs and a tail, of sizes
and angles that vary from one animal to the next as they do within a species. What tells the species apart is what does
in life: a cat has pointed ears and a long raised tail, a dog a muzzle and hanging ears, a horse long legs, a long neck
and a long head. All are shifted, scaled and half of them mirrored.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
ANIMALS = ("cat", "dog", "horse")


def animals(species: str, n: int, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[n, size, size] silhouettes in [0, 1], light on dark.

    Raises:
        ValueError: there is no such animal.
    """
    if species not in ANIMALS:
        raise ValueError(f"species is {species!r}; it must be {', '.join(ANIMALS)}")
    canvas = _Canvas(n, size, rng, scale=0.08, shift=0.1)
    picture = np.zeros((n, size, size))
    for part in _PARTS[species](canvas, _Jitter(n, rng)):
        picture = np.maximum(picture, part)
    mirrored = rng.random(n) < 0.5
    picture[mirrored] = picture[mirrored, :, ::-1]
    return picture.astype(np.float32)


def scribbles(n: int, size: int, rng: np.random.Generator, strokes: int = 4) -> NDArray[np.float32]:
    """[n, size, size] in [0, 1]: each a line of straight strokes from one random point to the next."""
    canvas = _Canvas(n, size, rng, scale=0.0, shift=0.0)
    picture = np.zeros((n, size, size))
    width = rng.uniform(0.08, 0.2, n)
    points = rng.uniform(-0.9, 0.9, (strokes + 1, 2, n))
    for a, b in pairwise(points):
        picture = np.maximum(picture, canvas.stroke(*a, *b, width))
    return picture.astype(np.float32)


class _Jitter:
    """Numbers [n] about a mean, one an animal."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng

    def __call__(self, mean: float, half: float) -> Array:
        return mean + half * self.rng.uniform(-1, 1, self.n)


class _Canvas:
    """Shapes as pictures [n, size, size], 1 inside and 0 outside with a soft edge of a pixel; y points up.

    Every argument is one number for all, or [n].
    """

    def __init__(self, n: int, size: int, rng: np.random.Generator, *, scale: float, shift: float) -> None:
        places = (np.arange(size) + 0.5) / size * 2 - 1
        scales = 1 + scale * rng.uniform(-1, 1, (n, 1, 1))
        self.x = (places[None, None, :] - shift * rng.uniform(-1, 1, (n, 1, 1))) * scales
        self.y = (-places[None, :, None] - shift * rng.uniform(-1, 1, (n, 1, 1))) * scales
        self.pixel = 2 / size

    def ellipse(self, x: Array, y: Array, half_width: Array, half_height: Array) -> Array:
        x, y, a, b = (_column(value) for value in (x, y, half_width, half_height))
        return self._soft((np.hypot((self.x - x) / a, (self.y - y) / b) - 1) * np.minimum(a, b))

    def stroke(self, x0: Array, y0: Array, x1: Array, y1: Array, half_width: Array) -> Array:
        """A line with round ends."""
        x0, y0, x1, y1, w = (_column(value) for value in (x0, y0, x1, y1, half_width))
        dx, dy = x1 - x0, y1 - y0
        along = ((self.x - x0) * dx + (self.y - y0) * dy) / np.maximum(dx**2 + dy**2, 1e-9)
        along = along.clip(0, 1)
        return self._soft(np.hypot(self.x - x0 - along * dx, self.y - y0 - along * dy) - w)

    def triangle(self, *corners: tuple[Array, Array]) -> Array:
        """Of three corners, counter-clockwise."""
        points = [(_column(x), _column(y)) for x, y in corners]
        distance = -np.inf
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            dx, dy = x1 - x0, y1 - y0
            outside = ((self.x - x0) * dy - (self.y - y0) * dx) / np.hypot(dx, dy)
            distance = np.maximum(distance, outside)
        return self._soft(distance)

    def _soft(self, distance: Array) -> Array:
        return np.clip(0.5 - distance / self.pixel, 0, 1)


def _column(value: Array) -> Array:
    return np.asarray(value, dtype=float).reshape(-1, 1, 1)


def _legs(canvas: _Canvas, jitter: _Jitter, xs: tuple[float, ...], top: float, foot: Array, width: float) -> Iterator:
    for x in xs:
        hip = jitter(x, 0.03)
        yield canvas.stroke(hip, top, hip + jitter(0.0, 0.08), foot, jitter(width, 0.01))


def _cat(canvas: _Canvas, jitter: _Jitter) -> Iterator[Array]:
    """A round head with two pointed ears; short legs; a long tail, raised."""
    yield canvas.ellipse(jitter(-0.05, 0.03), -0.1, jitter(0.45, 0.05), jitter(0.2, 0.03))
    x, y, r = jitter(0.45, 0.05), jitter(0.22, 0.06), jitter(0.22, 0.02)
    yield canvas.ellipse(x, y, r, r)
    for side in (-1, 1):
        ear, tip = x + side * 0.6 * r, jitter(0.24, 0.04)
        yield canvas.triangle((ear - 0.11, y + 0.6 * r), (ear + 0.11, y + 0.6 * r), (ear + side * 0.03, y + r + tip))
    yield from _legs(canvas, jitter, (-0.4, -0.25, 0.15, 0.3), -0.2, jitter(-0.62, 0.04), 0.06)
    bend, end = jitter(-0.72, 0.06), jitter(0.55, 0.12)
    yield canvas.stroke(-0.42, -0.05, bend, jitter(0.2, 0.06), 0.05)
    yield canvas.stroke(bend, 0.2, bend + jitter(0.1, 0.1), end, 0.05)


def _dog(canvas: _Canvas, jitter: _Jitter) -> Iterator[Array]:
    """A head with a muzzle and a hanging ear; legs of a middling length; a short tail."""
    yield canvas.ellipse(jitter(-0.08, 0.03), -0.02, jitter(0.48, 0.05), jitter(0.21, 0.03))
    x, y, r = jitter(0.45, 0.05), jitter(0.3, 0.06), jitter(0.19, 0.02)
    yield canvas.ellipse(x, y, r, r)
    yield canvas.stroke(0.3, 0.05, x, y, 0.12)
    yield canvas.stroke(x + 0.1, y - 0.05, x + jitter(0.36, 0.04), y - jitter(0.08, 0.03), jitter(0.085, 0.01))
    yield canvas.ellipse(x - 0.16, y - jitter(0.08, 0.03), 0.08, jitter(0.2, 0.03))
    yield from _legs(canvas, jitter, (-0.45, -0.3, 0.15, 0.3), -0.1, jitter(-0.68, 0.04), 0.07)
    yield canvas.stroke(-0.52, 0.05, jitter(-0.78, 0.05), jitter(0.28, 0.12), 0.05)


def _horse(canvas: _Canvas, jitter: _Jitter) -> Iterator[Array]:
    """Long legs, a long neck with a mane, a long head, a hanging tail."""
    yield canvas.ellipse(jitter(-0.1, 0.03), 0.05, jitter(0.45, 0.04), jitter(0.2, 0.02))
    x, y = jitter(0.52, 0.05), jitter(0.62, 0.06)
    yield canvas.stroke(0.22, 0.12, x, y, jitter(0.12, 0.01))
    yield canvas.stroke(x, y, x + jitter(0.26, 0.04), y - jitter(0.24, 0.05), jitter(0.085, 0.01))
    yield canvas.triangle((x - 0.1, y), (x + 0.06, y), (x - 0.02, y + jitter(0.26, 0.04)))
    yield from _legs(canvas, jitter, (-0.44, -0.3, 0.12, 0.26), 0.0, jitter(-0.85, 0.03), 0.055)
    yield canvas.stroke(-0.52, 0.1, jitter(-0.7, 0.05), jitter(-0.4, 0.08), 0.06)


_PARTS = {"cat": _cat, "dog": _dog, "horse": _horse}
