"""Corruptions of images: what all must keep, closed forms of some, and errors summed up against hand-computed ones."""

import math

import numpy as np
import pytest
import torch

from dlbench import corruptions
from dlbench.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from dlbench.data.images import DIGITS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(DIGITS.load()["x"][:300]).unsqueeze(1)


def spoilt(x, kind, severity, seed=0):
    return corrupt(x, kind, severity, generator=generator(seed))


# ------------------------------------------------------------------------------------------------------ what all keep


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_shape_type_range_and_input_are_kept(kind):
    for shape in ((3, 1, 8, 8), (2, 3, 13, 9), (1, 2, 28, 32), (2, 1, 1, 1)):
        for dtype in (torch.float32, torch.float64):
            x = torch.rand(shape, generator=generator(), dtype=dtype)
            before = x.clone()
            for severity in (1, 5):
                y = spoilt(x, kind, severity)
                assert y.shape == x.shape and y.dtype == dtype
                assert y.min() >= 0 and y.max() <= 1
            assert torch.equal(x, before)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_severity_takes_images_further_away(kind, digits):
    large = torch.nn.functional.interpolate(digits[:60], scale_factor=4, mode="bilinear").expand(-1, 3, -1, -1)
    for x in (digits, large):
        distances = [(spoilt(x, kind, severity) - x).abs().mean().item() for severity in SEVERITIES]
        assert distances[0] > 0
        assert distances == sorted(distances) and len(set(distances)) == 5, distances


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_generator_alone_decides(kind, digits):
    x = digits[:20]
    torch.manual_seed(1)
    one = spoilt(x, kind, 4, seed=7)
    torch.manual_seed(2)
    assert torch.equal(spoilt(x, kind, 4, seed=7), one)
    drawn = kind not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg")
    assert torch.equal(spoilt(x, kind, 4, seed=8), one) != drawn


def test_the_table_has_five_families_and_steadily_changing_strengths():
    assert len(CORRUPTIONS) == 16
    assert {c.family for c in CORRUPTIONS.values()} == {"noise", "blur", "weather", "digital", "geometry"}
    for corruption in CORRUPTIONS.values():
        assert len(corruption.strengths) == len(SEVERITIES)
        assert len(set(np.sign(np.diff(corruption.strengths)))) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "gausian_noise"}, "no corruption 'gausian_noise'; did you mean 'gaussian_noise'"),
        ({"severity": 0}, "severity is 0; expected 1 to 5"),
        ({"severity": 6}, "severity is 6"),
        ({"x": torch.zeros(8, 8)}, r"x has shape \[8, 8\]"),
        ({"x": torch.zeros(0, 1, 8, 8)}, r"x has shape \[0, 1, 8, 8\]"),
        ({"x": torch.zeros(1, 1, 8, 8, dtype=torch.uint8)}, "type torch.uint8"),
        ({"x": torch.full((1, 1, 2, 2), 255.0)}, "x goes from 255 to 255; expected images in"),
        ({"x": torch.full((1, 1, 2, 2), math.nan)}, "x goes from nan"),
    ],
)
def test_bad_input_is_told_in_one_line(changes, message):
    given = {"x": torch.zeros(1, 1, 8, 8), "kind": "snow", "severity": 1} | changes
    with pytest.raises(ValueError, match=message) as told:
        corrupt(given["x"], given["kind"], given["severity"], generator=generator())
    assert "\n" not in str(told.value)


# ------------------------------------------------------------------------------------------------------- closed forms


def test_noise_has_its_strength():
    x = torch.full((200, 1, 20, 20), 0.5)
    noise = corruptions.gaussian_noise(x, 0.08, generator()) - x
    assert noise.std().item() == pytest.approx(0.08, rel=0.01) and abs(noise.mean().item()) < 1e-3
    shot = corruptions.shot_noise(x, 60, generator())
    assert shot.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert shot.var().item() == pytest.approx(0.5 / 60, rel=0.03)  # of Poisson, over 60 squared
    impulse = corruptions.impulse_noise(x, 0.27, generator())
    assert (impulse != 0.5).float().mean().item() == pytest.approx(0.27, abs=0.01)
    assert impulse.mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("kind", ["defocus_blur", "motion_blur", "zoom_blur", "elastic", "pixelate"])
def test_blurs_and_bends_leave_an_even_image_alone(kind):
    x = torch.full((2, 3, 9, 9), 0.3)
    assert torch.allclose(spoilt(x, kind, 5), x, atol=1e-6)


def test_a_blurred_point_keeps_its_light_and_its_middle():
    x = torch.zeros(1, 1, 33, 33)
    x[..., 16, 16] = 1
    for kind in ("defocus_blur", "motion_blur"):
        y = spoilt(x, kind, 5)[0, 0]
        assert y.sum().item() == pytest.approx(1, abs=1e-3)
        row, column = (y.sum(axis) @ torch.arange(33.0) for axis in (1, 0))
        assert (row.item(), column.item()) == pytest.approx((16, 16), abs=0.1)
        assert y.max() < 0.3


def test_moves_and_turns_are_the_nearest_thing_to_exact():
    x = torch.zeros(40, 1, 9, 9)
    x[:, :, 4, 4] = 1
    y = corruptions.translate(x, 2 / 9, generator())[:, 0]
    away = torch.arange(9.0) - 4
    row, column = (y.sum(axis) @ away for axis in (2, 1))
    assert torch.allclose(torch.hypot(row, column), torch.full((40,), 2.0), atol=1e-4)
    images = torch.rand(6, 2, 9, 9, generator=generator())
    turned = corruptions.rotate(images, 90, generator())
    for image, once in zip(images, turned, strict=True):
        assert any(torch.allclose(once, torch.rot90(image, k, (1, 2)), atol=1e-5) for k in (1, 3))


def test_an_occluded_square_is_black_and_inside():
    x = torch.ones(50, 3, 16, 12)
    black = (spoilt(x, "occlude", 4) == 0).all(1)
    assert (black.flatten(1).sum(1) == 36).all()  # half of 12, squared
    assert (black.any(1).sum(1) == 6).all() and (black.any(2).sum(1) == 6).all()


def test_contrast_and_brightness_and_pixels():
    x = torch.tensor([[0.2, 0.6], [0.4, 0.8]])[None, None]
    assert torch.allclose(spoilt(x, "contrast", 1), 0.5 + 0.4 * (x - 0.5))
    assert torch.allclose(spoilt(x, "brightness", 3), (x + 0.3).clamp(max=1))
    ramp = torch.arange(16.0).reshape(1, 1, 4, 4) / 15
    coarse = corruptions.pixelate(ramp, 0.5, generator())
    assert torch.allclose(coarse[0, 0, :2, :2], ramp[0, 0, :2, :2].mean().expand(2, 2))


def test_jpeg_rounds_cosines():
    cosines = corruptions._cosines()
    assert torch.allclose(cosines @ cosines.T, torch.eye(8), atol=1e-6)
    even = torch.full((1, 1, 8, 8), 0.6)
    # Of an even block only the first cosine is there, 8 times the value; its step at quality 25 is 32.
    expected = (round(8 * (0.6 * 255 - 128) / 32) * 32 / 8 + 128) / 255
    assert torch.allclose(spoilt(even, "jpeg", 1), torch.full_like(even, expected), atol=1e-6)
    once = spoilt(torch.rand(2, 1, 8, 8, generator=generator()) * 0.4 + 0.3, "jpeg", 3)
    assert torch.allclose(spoilt(once, "jpeg", 3), once, atol=1e-5)  # what is rounded stays


def test_fog_is_a_mixture():
    black, white = (spoilt(torch.full((4, 1, 8, 8), value), "fog", 4) for value in (0.0, 1.0))
    assert torch.allclose(white - black, torch.full((4, 1, 8, 8), 0.5), atol=1e-6)  # thickness 1: half and half
    assert black.min() >= 0 and black.max() <= 0.5


# ------------------------------------------------------------------------------------------------------------ errors


def test_corruption_errors_by_hand():
    errors, baseline = [[0.1, 0.3], [0.2, 0.2]], [[0.2, 0.6], [0.3, 0.5]]
    assert corruptions.corruption_errors(errors, baseline) == pytest.approx([0.4 / 0.8, 0.4 / 0.8])
    assert corruptions.mean_corruption_error([[0.1, 0.3], [0.8, 0.8]], baseline) == pytest.approx((0.5 + 2) / 2)
    assert corruptions.mean_corruption_error(baseline, baseline) == 1
    relative = corruptions.relative_mean_corruption_error(errors, 0.05, baseline, 0.1)
    assert relative == pytest.approx((0.3 / 0.6 + 0.3 / 0.6) / 2)
    assert corruptions.relative_mean_corruption_error(baseline, 0.1, baseline, 0.1) == 1


def test_against_a_baseline_that_loses_nothing_there_is_no_ratio():
    assert math.isnan(corruptions.mean_corruption_error([[0.1], [0.1]], [[0.0], [0.2]]))
    assert math.isnan(corruptions.relative_mean_corruption_error([[0.1], [0.2]], 0.1, [[0.1], [0.2]], 0.1))


@pytest.mark.parametrize(
    ("errors", "baseline", "message"),
    [
        ([0.1, 0.2], [[0.1]], r"errors has shape \[2\]; expected \[kinds, severities\]"),
        ([[0.1]], [[10.0]], "baseline goes from 10 to 10; expected shares"),
        ([[0.1, 0.2]], [[0.1]], r"errors \[1, 2\] and baseline \[1, 1\]"),
        ([[math.nan]], [[0.1]], "errors goes from nan"),
    ],
)
def test_bad_errors_are_refused(errors, baseline, message):
    for metric in (
        corruptions.mean_corruption_error,
        lambda e, b: corruptions.relative_mean_corruption_error(e, 0.0, b, 0.0),
    ):
        with pytest.raises(ValueError, match=message):
            metric(errors, baseline)
