"""The projection on hyperplane and box: against solvers, by the conditions of optimality, and at the edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from dlbench.ops.reference import hyperplane

NORMS = {"linf": np.inf, "l2": 2}
LOWER, UPPER = torch.zeros(()), torch.ones(())


def problems(n, d, share, dtype=torch.float64, seed=0):
    """Points, normals and gaps; the gap is this share of what the box allows."""
    g = torch.Generator().manual_seed(seed)
    points = (1.6 * torch.rand(n, d, generator=g, dtype=dtype) - 0.3).clamp(0, 1)  # many at the bounds
    normal = torch.randn(n, d, generator=g, dtype=dtype)
    normal[torch.rand(n, d, generator=g) < 0.2] = 0
    return points, normal, share * reach(points, normal)


def reach(points, normal):
    """The most by which normal·z can grow inside the box."""
    return (normal.abs() * torch.where(normal > 0, 1 - points, points)).sum(-1)


def project(points, normal, gap, norm):
    return hyperplane.project(points, normal, gap, LOWER.to(points), UPPER.to(points), norm)


def least_distance(p, w, gap, norm):
    """What scipy's solvers find for one point."""
    d = len(p)
    if norm == "linf":  # over z and t: minimise t with -t <= z - p <= t
        eye, ones = np.eye(d), np.ones((d, 1))
        sides = np.block([[eye, -ones], [-eye, -ones]])
        bounds = [(0, 1)] * d + [(0, None)]
        found = linprog([0] * d + [1], sides, [*p, *-p], [[*w, 0]], [w @ p + gap], bounds)
        return found.fun
    plane = {"type": "eq", "fun": lambda z: w @ (z - p) - gap, "jac": lambda z: w}
    square = lambda z: ((z - p) ** 2).sum() / 2  # noqa: E731
    found = minimize(square, p, jac=lambda z: z - p, bounds=[(0, 1)] * d, constraints=plane, options={"ftol": 1e-15})
    return np.linalg.norm(found.x - p)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("share", [0.01, 0.4, 0.95, -0.6])
def test_no_solver_comes_nearer(norm, share):
    points, normal, gap = problems(12, 7, share)
    if share < 0:
        gap = share * reach(points, -normal)
    found = project(points, normal, gap, norm)
    torch.testing.assert_close((normal * (found - points)).sum(1), gap)
    distance = torch.linalg.vector_norm(found - points, NORMS[norm], dim=1)
    best = [least_distance(*row, norm) for row in zip(points.numpy(), normal.numpy(), gap.numpy(), strict=True)]
    torch.testing.assert_close(distance, torch.tensor(best, dtype=torch.float64), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("share", [1e-4, 0.1, 0.5, 0.9, 0.999])
def test_the_conditions_of_optimality(norm, share, dtype):
    """On the plane, in the box, and what has not met its bound has come equally far (L2: in proportion to |w|)."""
    points, normal, gap = problems(30, 500, share, dtype)
    found = project(points, normal, gap, norm)
    assert found.dtype == dtype and ((found >= 0) & (found <= 1)).all()
    grown = (normal.double() * (found.double() - points.double())).sum(1)
    rounding = torch.finfo(dtype).eps * normal.double().abs().sum(1)
    assert ((grown - gap.double()).abs() <= 4 * rounding).all()
    move, speed = (found - points) * normal.sign(), normal.abs() if norm == "l2" else (normal != 0).to(dtype)
    free = (found > 0) & (found < 1) & (normal != 0)
    fastest = torch.where(free, speed, 0).argmax(1, keepdim=True)
    time = move.gather(1, fastest) / speed.gather(1, fastest)
    late = move - time * speed
    rounding = 4 * torch.finfo(dtype).eps
    assert free.any(1).all() and (late[free].abs() <= rounding).all()
    assert (late <= rounding).all() and (move >= 0).all()


WEIGHTS = st.floats(-1, 1).map(lambda weight: round(weight, 3))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), WEIGHTS), min_size=1, max_size=8), st.floats(-1.2, 1.2))
def test_any_problem_is_solved_as_bisection_solves_it(rows, share):
    p, w = torch.tensor(rows, dtype=torch.float64).T
    gap = share * reach(p, w if share > 0 else -w)
    toward = w if share > 0 else -w
    for norm in NORMS:
        found = project(p[None], w[None], gap[None], norm)[0]
        velocity = toward if norm == "l2" else toward.sign()
        early, late = 0.0, 1000.0  # by when the slowest has met its bound
        for _ in range(80):
            middle = (early + late) / 2
            grown = (toward * ((p + middle * velocity).clamp(0, 1) - p)).sum()
            early, late = (middle, late) if grown < gap.abs() else (early, middle)
        expected = (p + late * velocity).clamp(0, 1)
        torch.testing.assert_close((w * found).sum(), (w * expected).sum(), rtol=0, atol=1e-9)
        norms = [torch.linalg.vector_norm(z - p, NORMS[norm]) for z in (found, expected)]
        torch.testing.assert_close(*norms, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("share", [1 + 1e-9, 1.5, 1e30])
def test_a_plane_out_of_reach_gives_the_corner_nearest_to_it(norm, share):
    points, normal, gap = problems(10, 20, share)
    corner = torch.where(normal > 0, 1.0, torch.where(normal < 0, 0.0, points))
    assert torch.equal(project(points, normal, gap, norm), corner)


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_normal_or_a_gap_the_point_stays(norm):
    points, normal, gap = problems(10, 20, 0.5, torch.float32)
    assert torch.equal(project(points, torch.zeros_like(normal), gap, norm), points)
    assert torch.equal(project(points, normal, torch.zeros_like(gap), norm), points)
    assert project(points[:0], normal[:0], gap[:0], norm).shape == (0, 20)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("exponent", [-100, -60, 60])
def test_the_length_of_the_normal_does_not_matter(norm, exponent):
    points, normal, gap = problems(10, 20, 0.5, torch.float32)
    scaled = project(points, normal * 2.0**exponent, gap.double() * 2.0**exponent, norm)
    assert torch.equal(scaled, project(points, normal, gap, norm))


@pytest.mark.parametrize("norm", NORMS)
def test_denormal_normals(norm):
    points, normal, gap = problems(10, 20, 0.5, torch.float32)
    tiny = (normal * 2.0**-140).double()
    found = project(points, tiny.float(), gap.double() * 2.0**-140, norm)
    assert torch.isfinite(found).all() and not torch.equal(found, points)
    torch.testing.assert_close((tiny * (found - points)).sum(1) * 2.0**140, gap.double(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("norm", NORMS)
def test_weights_over_forty_orders_of_magnitude(norm):
    """The hardest for Newton's method: a bound is met at every scale."""
    d = 130
    normal = (2.0 ** -torch.arange(d, dtype=torch.float64))[None]
    points = 1 - (1.5 ** -torch.arange(d, dtype=torch.float64))[None] / 2
    for share in (0.1, 0.9, 0.999999):
        gap = share * reach(points, normal)
        found = project(points, normal, gap, norm)
        assert ((normal * (found - points)).sum(1) - gap).abs() <= 1e-9 * gap


@pytest.mark.parametrize("norm", NORMS)
def test_bounds_may_differ_from_coordinate_to_coordinate(norm):
    points, normal, gap = problems(10, 6, 0.5)
    low, high = -1 - torch.arange(6, dtype=torch.float64), 2 + torch.arange(6, dtype=torch.float64)
    scaled = hyperplane.project(low + points * (high - low), normal / (high - low), gap, low, high, norm)
    assert ((scaled >= low) & (scaled <= high)).all()
    moved = (normal / (high - low) * (scaled - low - points * (high - low))).sum(1)
    torch.testing.assert_close(moved, gap)
