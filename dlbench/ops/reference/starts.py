"""Random starts in plain torch, bit by bit those of the kernels.

A random word, of 32 bits, is held in an int64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlbench.ops.reference.rows import empty_rows_like
from dlbench.ops.reference.steps import limit_tensors

Words = tuple[Tensor, Tensor, Tensor, Tensor]

MASK = 0xFFFFFFFF
LOGARITHM = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
    -0.5,
)
ERFINV_CENTRAL = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
ERFINV_OUTER = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)


def random_start(
    x: Tensor,
    streams: Tensor,
    norm: str,
    seed: int,
    eps: float,
    lower: float,
    upper: float,
    table: Tensor | None,
) -> Tensor:
    """A random point of the ball around each sample, clipped into the box; see ``csrc/perturb/start``."""
    if x.numel() == 0:
        return empty_rows_like(x)
    radius, _, low, high = limit_tensors(x, eps, 0.0, lower, upper, table)
    elements = math.prod(x.shape[1:])
    counters = torch.arange((elements + 3) // 4, device=x.device)
    draws = DRAWS[norm](torch.stack(_words(seed, streams[:, None], counters), -1).flatten(1)[:, :elements])
    if norm == "linf":
        scale = torch.where(radius.isfinite() & (radius >= 0), radius, math.nan)
    else:
        radius = radius if table is None else table[0, :, 0]
        extra = _exponential(_words(seed, streams, counters.new_tensor(MASK))[0])
        scale = _scale(radius.double(), norm, draws, extra).clamp(max=torch.finfo(x.dtype).max)
        scale = scale.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))

    v = draws.to(x.dtype).reshape(x.shape) * scale
    point = torch.where(v == 0, x, _add_towards(x, v))
    point = torch.where(point < low, low, point)
    point = torch.where(point > high, high, point)
    return empty_rows_like(x).copy_(torch.where(x.isfinite(), point, math.nan))


def philox(counter: Words, key: int) -> Words:
    """Philox4x32-10 (Salmon et al., SC 2011)."""
    a, b, c, d = counter
    low, high = key & MASK, key >> 32 & MASK
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57  # they wrap around; their bits are those of unsigned products
        a, b, c, d = (q >> 32 & MASK) ^ b ^ low, q & MASK, (p >> 32 & MASK) ^ d ^ high, p & MASK
        low, high = (low + 0x9E3779B9) & MASK, (high + 0xBB67AE85) & MASK
    return a, b, c, d


def _words(seed: int, streams: Tensor, counters: Tensor) -> Words:
    ids, restart, counters = torch.broadcast_tensors(*streams.unbind(-1), counters)  # type: ignore[no-untyped-call]
    return philox((counters, restart & MASK, ids & MASK, ids >> 32 & MASK), seed)


def _scale(radius: Tensor, norm: str, draws: Tensor, extra: Tensor) -> Tensor:
    """What the draws [n, elements] of each sample are multiplied with, [n]."""
    power = (_mass(norm, draws).sum(1) + _mass("l1", extra) + draws.shape[1] + 1).double() * 2.0**-26
    if norm == "l2":  # torch's own root may be off by a unit in the last place
        power = power.new_tensor([math.sqrt(each) for each in power.tolist()])
    scale = torch.where(radius.isfinite() & (radius >= 0), radius, math.nan) * (1 - 2.0**-22) / power
    return torch.where(scale < 2.0**-100, 0.0, scale)


def _mass(norm: str, draws: Tensor) -> Tensor:
    """|g|^p in units of 2^-26."""
    return ((draws * draws if norm == "l2" else draws.abs()) * 2.0**26).long()


# ---------------------------------------------------------------------------------------------- numbers from 32 bits


def _uniform(words: Tensor) -> Tensor:
    return (words >> 8).float() * 2.0**-23 - 1


def _exponential(words: Tensor) -> Tensor:
    return _with_sign_of(_minus_log(_tail(words)), words)


def _normal(words: Tensor) -> Tensor:
    """Of variance 1/2 (Giles, "Approximating the erfinv function", GPU Computing Gems, 2011)."""
    tail = _tail(words)
    x = 1 - tail
    w = _minus_log(_fma(tail, x, tail))
    root = w.double().sqrt().float()  # torch's own, of float32, may be off by a unit in the last place
    central, outer = _polynomial(ERFINV_CENTRAL, w - 2.5), _polynomial(ERFINV_OUTER, root - 3)
    return _with_sign_of(torch.where(w < 5, central, outer) * x, words)


DRAWS = {"linf": _uniform, "l2": _normal, "l1": _exponential}


def _tail(words: Tensor) -> Tensor:
    return _fma((words & 0x7FFFFFFF).int().float(), 2.0**-31, 2.0**-32)


def _with_sign_of(value: Tensor, words: Tensor) -> Tensor:
    return torch.where(words >> 31 == 1, -value, value)


def _minus_log(x: Tensor) -> Tensor:
    root_half = 0x3F3504F3
    above = x.view(torch.int32) - root_half
    e, f = (above >> 23).float(), ((above & 0x7FFFFF) + root_half).view(torch.float32) - 1
    log_2 = torch.tensor(math.log(2)).item()
    return -_fma(e, log_2, _fma(_polynomial(LOGARITHM, f), f * f, f))


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = _fma(value, x, torch.tensor(coefficient, device=x.device))
    return value


# ----------------------------------------------------------------------------------------- arithmetic of known rounding


def _fma(a: Tensor, b: Tensor | float, c: Tensor | float) -> Tensor:
    """``a * b + c`` of float32 numbers, rounded once.

    The product is exact in float64. The sum is rounded to odd there, by what Knuth's TwoSum tells of the first
    rounding; then rounding it a second time, to float32, is as good as rounding once (Boldo & Melquiond, 2008).
    """
    product = a.double() * b
    total = product + c
    c_seen = total - product
    lost = (product - (total - c_seen)) + (c - c_seen)
    odd = total.view(torch.int64) & 1 == 1
    neighbour = torch.nextafter(total, torch.copysign(torch.full_like(lost, math.inf), lost))
    return torch.where((lost == 0) | odd, total, neighbour).float()


def _add_towards(x: Tensor, v: Tensor) -> Tensor:
    """``x + v`` rounded towards ``x``."""
    total = x + v
    v_seen = total - x
    lost = (x - (total - v_seen)) + (v - v_seen)
    return torch.where(lost * v.sign() < 0, torch.nextafter(total, x), total)
