"""Colours against published values, and their metrics against hand-computed cases."""

import math

import numpy as np
import pytest

from dlbench import colour

# Sharma, Wu & Dalal 2005, table 1: two CIELAB colours and their difference.
PAIRS = """
50 2.6772 -79.7751  50 0 -82.7485  2.0425
50 3.1571 -77.2803  50 0 -82.7485  2.8615
50 2.8361 -74.0200  50 0 -82.7485  3.4412
50 -1.3802 -84.2814  50 0 -82.7485  1.0000
50 -1.1848 -84.8006  50 0 -82.7485  1.0000
50 -0.9009 -85.5211  50 0 -82.7485  1.0000
50 0 0  50 -1 2  2.3669
50 -1 2  50 0 0  2.3669
50 2.4900 -0.0010  50 -2.4900 0.0009  7.1792
50 2.4900 -0.0010  50 -2.4900 0.0010  7.1792
50 2.4900 -0.0010  50 -2.4900 0.0011  7.2195
50 2.4900 -0.0010  50 -2.4900 0.0012  7.2195
50 -0.0010 2.4900  50 0.0009 -2.4900  4.8045
50 -0.0010 2.4900  50 0.0010 -2.4900  4.8045
50 -0.0010 2.4900  50 0.0011 -2.4900  4.7461
50 2.5 0  50 0 -2.5  4.3065
50 2.5 0  73 25 -18  27.1492
50 2.5 0  61 -5 29  22.8977
50 2.5 0  56 -27 -3  31.9030
50 2.5 0  58 24 15  19.4535
50 2.5 0  50 3.1736 0.5854  1.0000
50 2.5 0  50 3.2972 0  1.0000
50 2.5 0  50 1.8634 0.5757  1.0000
50 2.5 0  50 3.2592 0.3350  1.0000
60.2574 -34.0099 36.2677  60.4626 -34.1751 39.4387  1.2644
63.0109 -31.0961 -5.8663  62.8187 -29.7946 -4.0864  1.2630
61.2901 3.7196 -5.3901  61.4292 2.2480 -4.9620  1.8731
35.0831 -44.1164 3.7933  35.0232 -40.0716 1.5901  1.8645
22.7233 20.0904 -46.6940  23.0331 14.9730 -42.5619  2.0373
36.4612 47.8580 18.3852  36.2715 50.5065 21.2231  1.4146
90.8027 -2.0831 1.4410  91.1528 -1.6435 0.0447  1.4441
90.9257 -0.5406 -0.9208  88.6381 -0.8985 -0.7239  1.5381
6.7747 -0.2908 -2.4247  5.8714 -0.0985 -2.2286  0.6377
2.0776 0.0795 -1.1350  0.9033 -0.0636 -0.5514  0.9082
"""
KNOWN = {  # sRGB → CIELAB under D65
    (1, 1, 1): (100, 0, 0),
    (0, 0, 0): (0, 0, 0),
    (1, 0, 0): (53.24, 80.09, 67.20),
    (0, 1, 0): (87.73, -86.18, 83.18),
    (0, 0, 1): (32.30, 79.19, -107.86),
    (119 / 255, 119 / 255, 119 / 255): (50.03, 0, 0),
}


def test_differences_are_the_published_ones():
    table = np.array(PAIRS.split(), dtype=float).reshape(34, 7)
    a, b, expected = table[:, :3], table[:, 3:6], table[:, 6]
    assert colour.ciede2000(a, b) == pytest.approx(expected, abs=5e-5)
    assert colour.ciede2000(b, a) == pytest.approx(expected, abs=5e-5)
    assert (colour.ciede2000(a, a) == 0).all()


def test_lab_of_known_colours():
    assert colour.lab_from_srgb(list(KNOWN)) == pytest.approx(np.array(list(KNOWN.values())), abs=0.02)


def test_there_and_back():
    rgb = np.random.default_rng(0).random((5, 4, 3))
    assert colour.srgb_from_lab(colour.lab_from_srgb(rgb)) == pytest.approx(rgb, abs=1e-9)


def test_a_screen_cannot_show_every_colour():
    shown = colour.srgb_from_lab([[50, 120, 0], [0, 0, -80]])
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_grey_is_not_colourful_and_red_is():
    grey, red = np.full((2, 2, 3), 0.3), np.zeros((2, 2, 3))
    red[..., 0] = 1  # R - G = 255, (R + G)/2 - B = 127.5, without spread
    half = grey.copy()
    half[0, :, 0] += 0.2  # R - G is 51 or 0, the other half of that: spreads of 25.5 and 12.75, means of the same
    expected = [0, 0.3 * math.hypot(255, 127.5), 1.3 * math.hypot(25.5, 12.75)]
    assert colour.colourfulness([grey, red, half]) == pytest.approx(expected)


def test_psnr_of_a_known_error():
    a = np.full((3, 2, 2, 3), 0.5)
    b = a + np.array([0.1, 0.01, 0])[:, None, None, None]
    assert colour.psnr(a, b) == pytest.approx([20, 40, math.inf])


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (colour.lab_from_srgb, [(3, 2)]),
        (colour.srgb_from_lab, [()]),
        (colour.ciede2000, [(3,), (4,)]),
        (colour.colourfulness, [(5, 3)]),
        (colour.psnr, [(2, 2, 3), (3,)]),
    ],
)
def test_channels_come_last(function, shapes):
    with pytest.raises(ValueError, match=r"has shape .*; expected \[\.\.\."):
        function(*(np.zeros(shape) for shape in shapes))
