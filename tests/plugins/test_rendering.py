"""The renderer: linear in the texture, its gradient, silhouettes and shading against closed forms, views by word."""

import math
from dataclasses import replace

import pytest
import torch

from dlbench_plugins.robustness import rendering
from dlbench_plugins.robustness.rendering import (
    AMBIENT,
    BODIES,
    FIELD,
    Body,
    Flat,
    Solid,
    boxes,
    cast,
    directions,
    ellipsoids,
    footprint,
    grid,
    rotations,
)

WORDS = torch.tensor([3, -7, 2**62 + 11])
SCENES = [Solid(12, body=name, side=4) for name in BODIES] + [Flat(12, side=5)]


def texels(scene):
    return (6 if isinstance(scene, Solid) else 1) * scene.side**2


def textures(scene, n=3, a=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, a, texels(scene), 3, generator=generator, dtype=torch.float64)


def straight(body, size, side=4, rotation=None, distance=2.75):
    """The view of a body from the +z axis, where the lamp stands as well."""
    on_axis = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    rotation = torch.eye(3, dtype=torch.float64) if rotation is None else rotation
    return cast(body, rotation[None], distance * on_axis, on_axis, size, side)


# ------------------------------------------------------------------------------------------------ linear in textures


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: getattr(scene, "body", "flat"))
def test_images_are_linear_in_textures(scene):
    views = scene.views(WORDS, torch.float64)
    one, other = textures(scene, seed=1).squeeze(1), textures(scene, seed=2).squeeze(1)
    together = views.project(2.5 * one - 0.7 * other)
    torch.testing.assert_close(together, 2.5 * views.project(one) - 0.7 * views.project(other))
    assert views.hit.any() and not together[~views.hit].any()


@pytest.mark.parametrize("scene", [Solid(6, side=2), Flat(5, side=3)], ids=["solid", "flat"])
def test_gradients_on_textures_are_those_of_finite_differences(scene):
    plain = replace(scene, noise=0.0, lighten=0.0, contrast=(0.5, 0.9))  # nothing is cut off at black or white
    for given in (textures(scene, n=2), textures(scene, n=1, a=2)):  # one for each view, two for both
        x = (0.2 + 0.6 * given).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: plain.photograph(x, WORDS[:2]), x)


def test_a_texture_for_all_views_is_as_one_for_each():
    scene = Solid(12, side=4)
    shared = textures(scene, n=1, a=2)
    each = scene.photograph(shared.expand(3, -1, -1, -1), WORDS)
    torch.testing.assert_close(scene.photograph(shared, WORDS), each)
    assert each.shape == (3, 2, 3, 12, 12)


# ---------------------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize(("radius", "distance"), [(0.8, 2.5), (1.0, 3.0), (0.5, 2.7)])
def test_the_silhouette_of_a_sphere(radius, distance):
    """A cone of rays touches it: in the image a disc of radius r / sqrt(d² - r²)."""
    size = 200
    hit = straight(Body(ellipsoids, [((0, 0, 0), (radius,) * 3)]), size, distance=distance).hit
    area = float(hit.sum()) * (2 * FIELD / size) ** 2
    assert area == pytest.approx(math.pi * radius**2 / (distance**2 - radius**2), rel=0.01)


def test_the_face_of_a_cube():
    """Seen straight on, its near face hides the rest: a square of side 2 h / (d - h), fully lit."""
    size, half, distance = 200, 0.5, 2.75
    views = straight(Body(boxes, [((0, 0, 0), (half,) * 3)]), size, distance=distance)
    area = float(views.hit.sum()) * (2 * FIELD / size) ** 2
    assert area == pytest.approx((2 * half / (distance - half)) ** 2, rel=0.02)
    torch.testing.assert_close(views.weight.sum(1), torch.ones(len(views.weight), dtype=torch.float64))
    face = 4  # z, upwards; its rows are along y
    assert (views.texel // 16 == face).all()


def test_shading_follows_lamberts_law():
    """On a unit ball that is lit from the camera, the cosine is that between the normal, the point, and the axis."""
    views = straight(Body(ellipsoids, [((0, 0, 0), (1, 1, 1))]), 41)
    place = FIELD * grid(41, torch.empty(0, dtype=torch.float64))[views.hit.flatten()]
    square = place.square().sum(1)
    d = 2.75
    t = (d - (d**2 - (1 + square) * (d**2 - 1)).sqrt()) / (1 + square)  # along rays (x, y, -1) from (0, 0, d)
    torch.testing.assert_close(views.weight.sum(1), AMBIENT + (1 - AMBIENT) * (d - t).clamp(min=0))


def test_the_nearer_part_hides_the_farther():
    near, far = ((0, 0, 0.5), (0.2, 0.2, 0.2)), ((0, 0, -0.5), (0.2, 0.2, 0.2))
    for kind in (ellipsoids, boxes):
        both, one = (straight(Body(kind, parts), 40) for parts in ([far, near], [near]))
        assert torch.equal(both.hit, one.hit) and torch.equal(both.texel, one.texel)


def test_turning_the_body_turns_the_image():
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    turn = rotations(torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64))[0]
    texture = torch.rand(1, 96, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for body in BODIES.values():
        upright, turned = (straight(body, 20, rotation=r).project(texture)[0] for r in (turn, quarter @ turn))
        torch.testing.assert_close(torch.rot90(upright), turned)  # both against the clock


def test_a_point_shows_the_texel_in_its_direction():
    """A texture that says where its texels are, seen on a unit ball, says where the points are."""
    side, size = 64, 33
    turn = rotations(torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64))[0]
    views = straight(Body(ellipsoids, [((0, 0, 0), (1, 1, 1))]), size, side, turn)
    seen = views.project(directions(side).double()[None])[views.hit] / views.weight.sum(1)[:, None]
    place = FIELD * grid(size, seen)[views.hit.flatten()]
    ray = torch.stack([place[:, 0], -place[:, 1], -torch.ones(len(place), dtype=torch.float64)], 1)
    a, b, c = ray.square().sum(1), 2.75 * ray[:, 2], 2.75**2 - 1
    t = (-b - (b * b - a * c).sqrt()) / a
    point = torch.tensor([0, 0, 2.75]) + t[:, None] * ray
    assert (seen - point @ turn).norm(dim=1).max() < 1.5 / side


def test_rotations_are_uniform():
    drawn = 2 * torch.rand(20_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    turn = rotations(drawn)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand_as(turn))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(len(turn), dtype=torch.float64))
    # the entries of a uniform rotation have mean 0 and variance 1/3, and a trace of mean 0 and variance 1
    assert turn.mean(0).abs().max() < 0.02 and (turn.square().mean(0) - 1 / 3).abs().max() < 0.02
    trace = turn.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(float(trace.mean())) < 0.03 and abs(float(trace.var()) - 1) < 0.05


def test_footprints_reproduce_linear_functions():
    side = 7
    place = grid(side, torch.empty(0, dtype=torch.float64))
    u, v = (torch.rand(50, dtype=torch.float64) * 1.6 - 0.8 for _ in range(2))  # between centres of texels
    texel, weight = footprint(torch.zeros(50, dtype=torch.int64), u, v, side)
    linear = 0.3 + place @ torch.tensor([0.5, -0.2], dtype=torch.float64)
    torch.testing.assert_close((linear[texel] * weight).sum(1), 0.3 + 0.5 * u - 0.2 * v)
    at_centres, sure = footprint(torch.zeros(side**2, dtype=torch.int64), *place.unbind(1), side)
    torch.testing.assert_close((torch.arange(side**2.0)[at_centres] * sure).sum(1), torch.arange(side**2.0).double())


def test_a_picture_as_it_is_and_turned():
    still = Flat(8, lighten=0.0, noise=0.0, side=8, angles=(0.0, 0.0), scales=(1.0, 1.0), shift=0.0)
    picture = textures(still, n=1)
    image = picture[0, 0].T.reshape(3, 8, 8)
    torch.testing.assert_close(still.photograph(picture, WORDS[:1])[0, 0], image)
    turned = replace(still, angles=(90.0, 90.0)).photograph(picture, WORDS[:1])[0, 0]
    torch.testing.assert_close(turned, torch.rot90(image, -1, (1, 2)))
    doubled = replace(still, scales=(2.0, 2.0)).views(WORDS, torch.float64)
    assert doubled.hit.all() and set(doubled.texel.unique().tolist()) < set(range(64))


# ------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("scene", [Solid(12, side=4), Flat(12, side=5)], ids=["solid", "flat"])
def test_a_word_names_a_view_whatever_the_batch(scene):
    x = textures(scene, n=1).float()
    together = scene.photograph(x, WORDS)
    alone = torch.cat([scene.photograph(x, word[None]) for word in WORDS])
    torch.testing.assert_close(together, alone)
    for other in (1, 2):
        assert not torch.allclose(together[0], together[other])


def test_words_of_noise_change_nothing_else():
    scene = Solid(12, side=4, noise=0.02)
    x, fresh = textures(scene, n=1, a=2).float(), torch.tensor([[1, 2]])
    noisy = scene.photograph(x, WORDS[:1], noise=fresh)
    still = replace(scene, noise=0.0).photograph(x, WORDS[:1])
    assert not torch.equal(noisy[0, 0] - still[0, 0], noisy[0, 1] - still[0, 1])
    assert 0 < (noisy - still).abs().max() < 5 * 0.02
    torch.testing.assert_close(replace(scene, noise=0.0).photograph(x, WORDS[:1], noise=fresh), still)


def test_noise_is_normal():
    values = Flat(16)._noise(torch.arange(40), torch.empty(1, 3, 64, 64)).flatten()
    assert values.isfinite().all() and abs(float(values.mean())) < 0.01
    quantiles = torch.quantile(values[:400_000], torch.tensor([0.1587, 0.5, 0.9772]))
    torch.testing.assert_close(quantiles, torch.tensor([-1.0, 0.0, 2.0]), atol=0.02, rtol=0)


def test_every_body_is_in_the_image_and_none_fills_it():
    words = torch.arange(30)
    for name in BODIES:
        share = Solid(32, body=name).views(words, torch.float32).hit.float().mean((1, 2))
        assert share.min() > 0.05 and share.max() < 0.75, name
    assert set(rendering.BODIES) >= {"ball", "cube", "turtle"}
