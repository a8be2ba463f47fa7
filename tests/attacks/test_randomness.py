"""Noise by counter: uniform, and the same for a sample wherever it stands."""

import torch
from scipy import stats

from dlbench.attacks.randomness import uniform


def test_a_sample_keeps_its_numbers():
    ids = torch.tensor([7, 0, 3, 12345678901])
    whole = uniform(5, 2, ids, (2, 3), torch.float32)
    for i in range(len(ids)):
        assert torch.equal(uniform(5, 2, ids[i : i + 1], (2, 3), torch.float32)[0], whole[i])
    assert torch.equal(whole.double(), uniform(5, 2, ids, (2, 3), torch.float64))


def test_known_values():
    """Splitmix64 seeded with 0 gives these words first (Vigna's reference); a change of any number shows here."""
    from dlbench.ops.reference.steps import mixed, signed

    words = mixed(torch.arange(1, 4) * signed(0x9E3779B97F4A7C15))
    assert [w % 2**64 for w in words.tolist()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_it_is_uniform_and_uncorrelated():
    u = uniform(0, 0, torch.arange(500), (200,), torch.float64)
    assert stats.kstest(u.flatten().numpy(), "uniform", (-1, 2)).pvalue > 0.01
    for a, b in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1])):  # between neighbours in either direction
        assert abs(float((a * b).mean())) < 0.005
    for other in (uniform(1, 0, torch.arange(500), (200,), u.dtype), uniform(0, 1, torch.arange(500), (200,), u.dtype)):
        assert abs(float((u * other).mean())) < 0.005
    assert u.min() >= -1 and u.max() < 1


def test_any_integer_is_a_seed():
    ids = torch.arange(3)
    drawn = [uniform(seed, 0, ids, (4,), torch.float32) for seed in (-1, 0, 2**63 - 1, 2**64 + 5)]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[3], uniform(5, 0, ids, (4,), torch.float32))
