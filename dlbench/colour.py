"""Colours as people see them: CIELAB, the difference of two colours, and how colourful an image is.

Arrays have their three channels last: sRGB in [0, 1], or CIELAB under the daylight D65, L* in [0, 100].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ.sum(1)  # of D65: what R = G = B = 1 gives
_KNEE = 6 / 29  # below it the cube root of CIELAB is a straight line


def lab_from_srgb(rgb: ArrayLike) -> Array:
    """[..., 3] CIELAB of sRGB colours [..., 3] (IEC 61966-2-1).

    Raises:
        ValueError: the last dimension is not 3.
    """
    rgb = _channels(rgb, "rgb")
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ (_XYZ.T / _WHITE)
    f = np.where(xyz > _KNEE**3, np.cbrt(xyz), xyz / (3 * _KNEE**2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def srgb_from_lab(lab: ArrayLike) -> Array:
    """[..., 3] sRGB of CIELAB colours [..., 3]; what a screen cannot show is cut to [0, 1].

    Raises:
        ValueError: the last dimension is not 3.
    """
    lab = _channels(lab, "lab")
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    xyz = np.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29)) * _WHITE
    linear = np.clip(xyz @ np.linalg.inv(_XYZ).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # type: ignore[no-any-return]


def ciede2000(a: ArrayLike, b: ArrayLike) -> Array:
    """[...] differences ΔE00 of CIELAB colours a and b [..., 3]; about 1 can just be seen.

    Follows Sharma, Wu & Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data,
    and mathematical observations", Color Research and Application 30(1), 2005; kL = kC = kH = 1.

    Raises:
        ValueError: the last dimension of one is not 3.
    """
    (l1, a1, b1), (l2, a2, b2) = (np.moveaxis(_channels(x, name), -1, 0) for x, name in ((a, "a"), (b, "b")))
    mean_c = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(y, x)) % 360 for y, x in ((b1, a1), (b2, a2)))

    grey = c1 * c2 == 0  # which has no hue: none to differ by, and the other's is the mean
    turn = h2 - h1
    turn = np.where(grey, 0, turn - 360 * (turn > 180) + 360 * (turn < -180))
    d_l, d_c, d_h = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)

    lightness, c, total = (l1 + l2) / 2, (c1 + c2) / 2, h1 + h2
    around = np.abs(h1 - h2) > 180
    h = np.where(grey, total, np.where(around, total + np.where(total < 360, 360, -360), total) / 2)

    def cosine(factor: float, shift: float) -> Array:
        return np.cos(np.radians(factor * h + shift))  # type: ignore[no-any-return]

    t = 1 - 0.17 * cosine(1, -30) + 0.24 * cosine(2, 0) + 0.32 * cosine(3, 6) - 0.20 * cosine(4, -63)
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * c, 1 + 0.015 * c * t
    rotation = -2 * np.sqrt(c**7 / (c**7 + 25.0**7)) * np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2))))
    x, y, z = d_l / s_l, d_c / s_c, d_h / s_h
    return np.sqrt(np.maximum(x**2 + y**2 + z**2 + rotation * y * z, 0))  # type: ignore[no-any-return]


def colourfulness(rgb: ArrayLike) -> Array:
    """[...] colourfulness of sRGB images [..., h, w, 3], on the scale of 0 (grey) to above 100 ("extremely").

    Hasler & Süsstrunk, "Measuring colourfulness in natural images", Human Vision and Electronic Imaging 2003.

    Raises:
        ValueError: rgb has not the shape of images.
    """
    rgb = 255 * _channels(rgb, "rgb", images=True)
    red, green, blue = np.moveaxis(rgb, -1, 0)
    opponent = np.stack([red - green, (red + green) / 2 - blue])
    spread, mean = opponent.std((-2, -1)), opponent.mean((-2, -1))
    return np.hypot(*spread) + 0.3 * np.hypot(*mean)  # type: ignore[no-any-return]


def psnr(a: ArrayLike, b: ArrayLike) -> Array:
    """[...] peak signal-to-noise ratio in dB of sRGB images a and b [..., h, w, 3]; infinite where they agree.

    Raises:
        ValueError: one has not the shape of images.
    """
    squared = np.square(_channels(a, "a", images=True) - _channels(b, "b", images=True)).mean((-3, -2, -1))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(squared)  # type: ignore[no-any-return]


def _channels(values: ArrayLike, name: str, *, images: bool = False) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape[-1:] != (3,) or (images and array.ndim < 3):
        raise ValueError(f"{name} has shape {list(array.shape)}; expected [{'..., h, w' if images else '...'}, 3]")
    return array
