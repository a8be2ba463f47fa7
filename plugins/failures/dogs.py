"""Dogs' faces, drawn by rule in CIELAB, with the mouth closed or the tongue out.

A face looks out of a canvas of [-1, 1]²: ears, head, muzzle, eyes, nose, the line of the mouth, and below it the chin.
Coats run from cream to dark brown and from grey to red; backgrounds, sizes and places vary. Chins vary, too: they are
lit as they happen to be, by SHADE (one standard deviation). An open mouth hides the chin behind the tongue, darker by
CUE times the strength of the cue: at 1 that is five standard deviations and nobody is in doubt, at 0.5 it may well be a
shadow, and at 0 the grey image of an open mouth is that of a closed one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

SHADE, CUE = 5.0, 25.0  # of L*
GRAIN = 1.0  # of L*, a pixel
TONGUES = {"pink": (38.0, 12.0), "blue": (4.0, -14.0)}  # a*, b*; a chow chow's is blue


class Dogs(NamedTuple):
    """n faces of h × w pixels."""

    closed: Array  # [n, h, w, 3] CIELAB, the mouth closed
    tongue: Array  # [n, h, w] in [0, 1]: where the tongue is when it is out, soft at its edge
    ear: Array  # [n, h, w] in [0, 1]
    shade: Array  # [n] in standard deviations: how dark or light the chin is

    def lightness(self, cue: float) -> Array:
        """[n, h, w] L* with the tongue out."""
        return (self.closed[..., 0] - cue * CUE * self.tongue).clip(0)

    def ab(self, tongue: str) -> Array:
        """[n, h, w, 2] a* and b* with a tongue of this colour out."""
        skin = self.closed[..., 1:]
        return skin + self.tongue[..., None] * (np.array(TONGUES[tongue]) - skin)


def draw(n: int, size: int, rng: np.random.Generator) -> Dogs:
    """Draw n dogs of size × size pixels."""

    def vary(mean: float, half: float) -> Array:
        return mean + half * rng.uniform(-1, 1, n)

    places = (np.arange(size) + 0.5) / size * 2 - 1
    scale = vary(1, 0.05)[:, None, None]
    x = (places[None, None, :] - vary(0, 0.08)[:, None, None]) * scale
    y = (places[None, :, None] - vary(0, 0.08)[:, None, None]) * scale

    def ellipse(x0: float, y0: float, half_width: float, half_height: float) -> Array:
        """[n, h, w]: 1 inside, 0 outside, with an edge a pixel wide; y points down."""
        inside = (1 - np.hypot((x - x0) / half_width, (y - y0) / half_height)) * min(half_width, half_height)
        return np.clip(0.5 + inside * size / 2, 0, 1)

    coat_l, red = vary(58, 22), np.clip(rng.normal(0.5, 0.25, n), 0, 1)
    coat = np.stack([coat_l, 2 + 10 * red, 6 + 24 * red], -1)
    muzzle = coat * [1, 0.6, 0.6] + vary(8, 6)[:, None] * [1, 0, 0]
    ears = coat + np.array([-12, 2, 1])
    lab = np.empty((n, size, size, 3))
    lab[:] = np.stack([vary(65, 25), vary(-6, 4), vary(5, 10)], -1)[:, None, None]

    def paint(mask: Array, colour: ArrayLike) -> None:
        """Colour [3], or [n, 3], where the mask is."""
        nonlocal lab
        lab += mask[..., None] * (np.broadcast_to(np.asarray(colour, float), (n, 3))[:, None, None] - lab)

    head = ellipse(0, 0.06, 0.74, 0.86)
    ear = np.maximum(ellipse(-0.72, -0.4, 0.22, 0.44), ellipse(0.72, -0.4, 0.22, 0.44))
    paint(head, coat)
    paint(ear, ears)
    paint(ellipse(0, 0.42, 0.5, 0.48), muzzle)
    for side in (-0.3, 0.3):
        paint(ellipse(side, -0.2, 0.11, 0.11), (12, 2, 2))
    paint(ellipse(0, 0.1, 0.18, 0.12), (18, 2, 1))
    lab[..., 0] -= 18 * ellipse(0, 0.34, 0.32, 0.06)
    tongue, shade = ellipse(0, 0.6, 0.24, 0.21), rng.standard_normal(n)
    lab[..., 0] += SHADE * shade[:, None, None] * tongue + GRAIN * rng.standard_normal(lab.shape[:3])
    lab[..., 0] = lab[..., 0].clip(0, 100)
    return Dogs(lab, tongue, ear, shade)
