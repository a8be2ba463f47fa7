"""Photographs that are linear in what they show: of textured bodies by ray casting, of flat pictures by resampling.

A pixel sees a place on the texture: the bilinear weights of the four texels around it, times the shading there, are a
row of a sparse matrix M(pose), and the image is M texture + background. M is a graph from texels to pixels, so a batch
of views is one :func:`dlbench.ops.aggregate` over a graph of blocks, and the gradient on the textures is the aggregate
over its transpose. Nothing is differentiated through poses.

Whatever is drawn for a view (pose, light, background, noise) is named by a 64-bit word: the same word gives the same
circumstances, in whatever batch and for whichever texture.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dlbench import ops
from dlbench.attacks.randomness import uniform

FIELD = 0.42  # half the image's width, a unit of length before the camera: bodies of radius 1 fill it
AMBIENT = 0.5  # share of the light that falls everywhere; the rest only on what faces the lamp
POSE, LIGHT, NOISE = range(3)  # what a word is drawn for


def spread(drawn: Tensor, low: float, high: float) -> Tensor:
    """Numbers in [-1, 1) to [low, high)."""
    return low + (drawn + 1) / 2 * (high - low)


# ------------------------------------------------------------------------------------------------- what pixels see


@dataclass(frozen=True)
class Views:
    """Which texels the pixels of m views see, and how bright.

    Args:
        hit: [m, size, size] bool, the pixel sees the texture, not the background.
        texel: [hits, 4] int64, for each of those pixels the texels around the place that it sees.
        weight: [hits, 4], their bilinear weights times the shading.
    """

    hit: Tensor
    texel: Tensor
    weight: Tensor

    def project(self, textures: Tensor) -> Tensor:
        """M texture: images [m, size, size, features], 0 where the background is seen.

        Args:
            textures: [m, texels, features], one a view, or [1, texels, features], one for all.
        """
        owners, texels, features = textures.shape
        edges = 4 * self.hit.flatten()
        rowptr = F.pad(edges.cumsum(0), (1, 0))
        block = torch.arange(len(self.hit), device=edges.device) * (texels if owners > 1 else 0)
        first = block.repeat_interleave(self.hit.flatten(1).sum(1), output_size=len(self.texel))
        graph = ops.Graph.from_csr(rowptr, (self.texel + first[:, None]).flatten(), num_src=owners * texels)
        image = ops.aggregate(textures.reshape(-1, features), graph, self.weight.flatten())
        return image.reshape(*self.hit.shape, features)


def footprint(face: Tensor, u: Tensor, v: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The four texels around places (u, v) in [-1, 1]² on faces of side × side texels, and their bilinear weights.

    All [..., 4]. Texels lie in rows of u, and beyond the centres of the outermost the texture goes on as it is there.
    """
    x, y = (((along + 1) * side / 2 - 0.5).clamp(0, side - 1) for along in (u, v))
    left, top = (along.long().clamp(max=side - 2) for along in (x, y))
    x, y = x - left, y - top
    corner = (face * side + top) * side + left
    texel = torch.stack([corner, corner + 1, corner + side, corner + side + 1], -1)
    return texel, torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], -1)


def grid(side: int, like: Tensor) -> Tensor:
    """Centres of side × side cells [side², 2] in [-1, 1]², row by row, of the type and on the device of ``like``."""
    along = (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) * 2 / side - 1
    return torch.cartesian_prod(along, along).flip(1)


# ------------------------------------------------------------------------------------------------------------ scenes


@dataclass(frozen=True)
class Scene(ABC):
    """What may happen to a texture before a network sees it, and in which measure.

    Args:
        size: height and width of the photographs.
        lighten: how much may be added to an image or taken from it.
        contrast: least and greatest factor on it.
        noise: greatest standard deviation of the camera's noise.
    """

    size: int
    lighten: float = 0.05
    contrast: tuple[float, float] = (1.0, 1.0)
    noise: float = 0.01

    @abstractmethod
    def views(self, words: Tensor, dtype: torch.dtype) -> Views:
        """The views that words [m] name."""

    def photograph(self, textures: Tensor, words: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images [m, a, 3, size, size] in [0, 1] of a textures under each of m views.

        Args:
            textures: [m, a, texels, 3], or [1, a, texels, 3] where all views are of the same ones.
            words: [m] int64, the circumstances of each view.
            noise: [m or 1, a or 1] int64, the words that name the camera's noise; the view's own where not given.
        """
        _, a, texels, _ = textures.shape
        views = self.views(words, textures.dtype)
        drawn = uniform(LIGHT, 0, words, (6,), textures.dtype)
        background = spread(drawn[:, :3], 0.1, 0.9)[:, None, :, None, None]
        factor, offset, deviation = drawn[:, 3:, None, None, None, None].unbind(1)

        image = views.project(textures.transpose(1, 2).reshape(-1, texels, a * 3))
        image = image.unflatten(-1, (a, 3)).permute(0, 3, 4, 1, 2)
        image = image + background * ~views.hit[:, None, None]
        image = image * spread(factor, *self.contrast) + self.lighten * offset
        grain = self._noise(words[:, None] if noise is None else noise, image)
        return (image + spread(deviation, 0, self.noise) * grain).clamp(0, 1)

    def _noise(self, words: Tensor, like: Tensor) -> Tensor:
        """Normal numbers [..., 3, size, size] for words of any shape: the normal quantiles of uniform ones."""
        drawn = uniform(NOISE, 0, words.flatten(), like.shape[-3:], like.dtype) + 2**-24  # the middle of the cell
        return math.sqrt(2) * torch.erfinv(drawn).unflatten(0, words.shape)


@dataclass(frozen=True)
class Flat(Scene):
    """A picture of side × side texels on a table: turned, scaled, shifted. Ranges of Athalye et al. 2018 in 2-D.

    Args:
        side: texels along an edge of the picture.
        angles: between which it is turned, in degrees.
        scales: between which it is enlarged.
        shift: how far it is shifted, in halves of the image's width.
    """

    side: int = 32
    angles: tuple[float, float] = (-22.5, 22.5)
    scales: tuple[float, float] = (0.9, 1.4)
    shift: float = 0.3

    def views(self, words: Tensor, dtype: torch.dtype) -> Views:
        """Every pixel looks up where on the picture it lies."""
        drawn = uniform(POSE, 0, words, (4, 1), dtype)
        angle = spread(drawn[:, 0], *self.angles) * math.pi / 180
        place = (grid(self.size, drawn) - self.shift * drawn[:, None, 2:, 0]) / spread(drawn[:, 1:2], *self.scales)
        x, y = place.unbind(-1)
        u, v = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
        hit = (u.abs() < 1) & (v.abs() < 1)
        texel, weight = footprint(torch.zeros_like(u[hit], dtype=torch.int64), u[hit], v[hit], self.side)
        return Views(hit.unflatten(1, (self.size, self.size)), texel, weight)


@dataclass(frozen=True)
class Solid(Scene):
    """A body in any rotation before a camera, under one lamp. Ranges of Athalye et al. 2018 in 3-D.

    Its texture is a cube map of six faces of side × side texels: a point of the surface shows the texel where the line
    to it from the body's centre leaves a cube.

    Args:
        body: what is photographed.
        side: texels along an edge of a face.
        distances: between which the camera stands, in radii of the body.
        shift: how far off the axis.
    """

    body: str = "turtle"
    side: int = 16
    lighten: float = 0.15
    contrast: tuple[float, float] = (0.7, 1.3)
    distances: tuple[float, float] = (2.5, 3.0)
    shift: float = 0.05

    def views(self, words: Tensor, dtype: torch.dtype) -> Views:
        """Every pixel casts a ray, in the body's own frame."""
        drawn = uniform(POSE, 0, words, (8,), dtype)
        camera = torch.cat([self.shift * drawn[:, 3:5], spread(drawn[:, 5:6], *self.distances)], 1)
        lamp = F.normalize(F.pad(drawn[:, 6:8], (0, 1), value=1.0), dim=1)  # within 55 degrees of the camera
        return cast(BODIES[self.body], rotations(drawn[:, :3]), camera, lamp, self.size, self.side)


# ------------------------------------------------------------------------------------------------------------ bodies

Point = tuple[float, float, float]
Intersect = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Body:
    """A union of ellipsoids, or of boxes, with axes along x, y and z, about as large as the unit ball.

    Args:
        intersect: finds where rays meet such parts.
        parts: a centre and three half-axes each.
    """

    intersect: Intersect
    parts: Sequence[tuple[Point, Point]]


def ellipsoids(origin: Tensor, ray: Tensor, centre: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays [m, p, 3] from origins [m, 3] first meet one of the ellipsoids, of given centres and half-axes [k, 3].

    A point o + t d is on one where |(o + t d - c) / h| = 1, which is quadratic in t. Returns t [m, p], infinite where a
    ray meets none, and normals [m, p, 3] of any length.
    """
    seen = (origin[:, None] - centre) / half  # [m, k, 3]
    a = ray.square() @ half.pow(-2).T  # [m, p, k]
    b = ray @ (seen / half).transpose(1, 2)
    discriminant = b.square() - a * (seen.square().sum(-1)[:, None] - 1)
    t = torch.where(discriminant > 0, -(b + discriminant.clamp(min=0).sqrt()) / a, math.inf)
    t, part = t.min(-1)
    point = origin[:, None] + t.nan_to_num(posinf=0)[..., None] * ray
    return t, (point - centre[part]) / half[part].square()


def boxes(origin: Tensor, ray: Tensor, centre: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`ellipsoids`, of boxes: a ray is inside one while it is between all three pairs of planes."""
    inverse = ray.reciprocal()[:, :, None]
    middle = (centre - origin[:, None])[:, None] * inverse  # [m, p, k, 3]
    reach = (half * inverse).abs()
    enter, axis = (middle - reach).max(-1)
    t = torch.where(enter < (middle + reach).amin(-1), enter, math.inf)
    t, part = t.min(-1)
    axis = axis.gather(-1, part[..., None])
    return t, torch.zeros_like(ray).scatter(-1, axis, -ray.gather(-1, axis).sign())


BODIES = {
    "ball": Body(ellipsoids, [((0, 0, 0), (0.9, 0.8, 0.8))]),
    "cube": Body(boxes, [((0, 0, 0), (0.57, 0.57, 0.57))]),
    "turtle": Body(
        ellipsoids,
        [
            ((0, 0, 0.05), (0.7, 0.62, 0.42)),  # shell
            ((0.78, 0, 0), (0.22, 0.2, 0.2)),  # head
            ((0.45, 0.6, -0.1), (0.22, 0.34, 0.15)),  # flippers
            ((0.45, -0.6, -0.1), (0.22, 0.34, 0.15)),
            ((-0.55, 0.55, -0.1), (0.26, 0.24, 0.15)),
            ((-0.55, -0.55, -0.1), (0.26, 0.24, 0.15)),
        ],
    ),
    "table": Body(
        boxes,
        [((0, 0, 0.3), (0.62, 0.62, 0.12))]
        + [((x, y, -0.18), (0.14, 0.14, 0.4)) for x in (-0.48, 0.48) for y in (-0.48, 0.48)],
    ),
    "dumbbell": Body(
        ellipsoids, [((x, 0, 0), (0.44, 0.44, 0.44)) for x in (-0.52, 0.52)] + [((0, 0, 0), (0.5, 0.2, 0.2))]
    ),
    "jack": Body(
        ellipsoids,
        [((0, 0, 0), (0.95, 0.3, 0.3)), ((0, 0, 0), (0.3, 0.95, 0.3)), ((0, 0, 0), (0.3, 0.3, 0.95))],
    ),
}


def cast(body: Body, rotation: Tensor, camera: Tensor, lamp: Tensor, size: int, side: int) -> Views:
    """Views of a body turned by ``rotation`` [m, 3, 3], from ``camera`` [m, 3] along -z, lit from ``lamp`` [m, 3].

    Camera and unit vectors to the lamp stand still; they are brought into the body's frame by the inverse rotation.
    """
    centre, half = (
        torch.tensor(axes, dtype=camera.dtype, device=camera.device) for axes in zip(*body.parts, strict=True)
    )
    right, down = (FIELD * grid(size, camera)).unbind(1)
    ray = torch.stack([right, -down, -torch.ones_like(down)], 1) @ rotation  # R⁻¹ d as rows: dᵀ R
    origin, light = ((vector[:, None] @ rotation) for vector in (camera, lamp))
    t, normal = body.intersect(origin.squeeze(1), ray, centre, half)
    hit = t.isfinite()
    point = (origin + t.nan_to_num(posinf=0)[..., None] * ray)[hit]
    facing = (F.normalize(normal, dim=-1) * light).sum(-1)[hit].clamp(min=0)  # Lambert's cosine

    reach, axis = point.abs().max(-1)
    along = [point.gather(-1, (axis[:, None] + step) % 3).squeeze(1) / reach for step in range(3)]
    texel, weight = footprint(2 * axis + (along[0] < 0), along[1], along[2], side)
    shade = AMBIENT + (1 - AMBIENT) * facing
    return Views(hit.unflatten(1, (size, size)), texel, weight * shade[:, None])


def directions(side: int) -> Tensor:
    """Unit vectors [6 side², 3] to the texels of a cube map, in their order."""
    place = grid(side, torch.empty(0))
    faces = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            point = torch.cat([torch.full_like(place[:, :1], sign), place], 1)
            faces.append(point.roll(axis, 1))
    return F.normalize(torch.cat(faces), dim=1)


def rotations(drawn: Tensor) -> Tensor:
    """Rotations [m, 3, 3], uniform where the numbers [m, 3] are uniform in [-1, 1)³.

    By a uniform unit quaternion (Shoemake, Uniform random rotations, Graphics Gems III, 1992).
    """
    share, (a, b) = (drawn[:, 0] + 1) / 2, (math.pi * drawn[:, 1:]).unbind(1)
    low, high = (1 - share).sqrt(), share.sqrt()
    x, y, z, w = low * a.sin(), low * a.cos(), high * b.sin(), high * b.cos()
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
