"""Noise by counter: uniform, and the same for a sample wherever it stands."""

import torch
from scipy import stats

from dlbench import ops
from dlbench.attacks.randomness import uniform, words


def test_a_sample_keeps_its_numbers():
    ids = torch.tensor([7, 0, 3, 12345678901])
    whole = uniform(5, 2, ids, (2, 3), torch.float32)
    for i in range(len(ids)):
        assert torch.equal(uniform(5, 2, ids[i : i + 1], (2, 3), torch.float32)[0], whole[i])
    assert torch.equal(whole.double(), uniform(5, 2, ids, (2, 3), torch.float64))


def test_known_values():
    """Philox4x32-10 gives these words for a counter and a key of zeros (Random123); any change shows here."""
    words = torch.tensor([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8])
    want = (words >> 8).double() / 2**23 - 1
    assert torch.equal(uniform(0, 0, torch.tensor([0]), (4,), torch.float64)[0], want)


def test_a_random_start_has_the_same_numbers():
    ids, x = torch.tensor([4, -9]), torch.zeros(2, 5)
    start = ops.random_start(x, eps=0.5, seed=3, sample_ids=ids, restart=1, lower=-1.0)
    assert torch.equal(start, 0.5 * uniform(3, 1, ids, (5,), torch.float32))


def test_it_is_uniform_and_uncorrelated():
    u = uniform(0, 0, torch.arange(500), (200,), torch.float64)
    assert stats.kstest(u.flatten().numpy(), "uniform", (-1, 2)).pvalue > 0.01
    for a, b in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1])):  # between neighbours in either direction
        assert abs(float((a * b).mean())) < 0.005
    for other in (uniform(1, 0, torch.arange(500), (200,), u.dtype), uniform(0, 1, torch.arange(500), (200,), u.dtype)):
        assert abs(float((u * other).mean())) < 0.005
    assert u.min() >= -1 and u.max() < 1


def test_words_are_one_for_each_id_and_moment_and_uniform():
    ids, moment = torch.arange(60), torch.arange(-2, 50)
    drawn = words(3, ids[:, None], moment)
    assert torch.equal(drawn[7:9, 5], words(3, ids[7:9], moment[5]))
    assert len(drawn.unique()) == drawn.numel() and not torch.equal(drawn, words(4, ids[:, None], moment))
    bits = (drawn.flatten()[:, None] >> torch.arange(64)) & 1
    assert (bits.double().mean(0) - 0.5).abs().max() < 0.04
    assert stats.kstest(drawn.flatten().double().numpy() / 2**63, "uniform", (-1, 2)).pvalue > 0.01


def test_any_integer_is_a_seed():
    ids = torch.arange(3)
    drawn = [uniform(seed, 0, ids, (4,), torch.float32) for seed in (-1, 0, 2**63 - 1, 2**64 + 5)]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[3], uniform(5, 0, ids, (4,), torch.float32))
    assert torch.equal(words(2**64 + 5, ids, ids), words(5, ids, ids))
