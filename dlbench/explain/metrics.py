"""How far explanations can be trusted: where they point, what the model loses by it, and what moves them.

Maps are relevance [n, height, width], the largest the most relevant, as arrays or tensors; what is measured is one
value an image, [n]. Among pixels of the same relevance the ones that count are drawn by lot, and what is given is the
expectation of that, so that a blank map scores as chance does.

Names are those of Quantus (Hedström et al. 2023, arXiv:2202.06861). Removing pixels shows a model images that it has
never seen; no measure here is of people's trust.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.stats import rankdata
from torch import Tensor, nn

from dlbench.attacks.modes import undisturbed
from dlbench.explain import checks
from dlbench.explain.checks import Array, Model

AT_ONCE = 25_600  # pixels whose neighbours are solved for at once

# ------------------------------------------------------------------------------------------- against a true region


def relevance_rank_accuracy(maps: Any, masks: Any) -> Array:
    """[n]: of the k most relevant pixels, the share within the mask of k pixels (Arras et al. 2022, arXiv:2003.07258).

    Args:
        maps: [n, height, width].
        masks: [n, height, width] booleans, the true regions, none of them empty.

    Raises:
        ValueError: maps or masks of another shape, not finite, or an empty mask.
    """
    r = checks.maps("maps", maps)
    m = checks.masks(masks, r)
    sizes = m.sum((1, 2))
    return np.asarray(_shared(_top(r, sizes), m) / sizes)


def relevance_mass_accuracy(maps: Any, masks: Any) -> Array:
    """[n]: the share of all positive relevance that lies within the mask (Arras et al. 2022); 0 where there is none.

    Args and errors are those of :func:`relevance_rank_accuracy`.
    """
    r = checks.maps("maps", maps)
    m = checks.masks(masks, r)
    positive = r.clip(min=0)
    total = positive.sum((1, 2))
    return np.asarray(np.divide(_shared(positive, m), total, out=np.zeros(len(r)), where=total > 0))


def pointing_game(maps: Any, masks: Any) -> Array:
    """[n]: whether the most relevant pixel is within the mask, 1 or 0 (Zhang et al. 2018, arXiv:1608.00507).

    Args and errors are those of :func:`relevance_rank_accuracy`.
    """
    r = checks.maps("maps", maps)
    m = checks.masks(masks, r)
    return _shared(_top(r, np.ones(len(r), dtype=np.int64)), m)


def top_k_agreement(first: Any, second: Any, k: int) -> Array:
    """[n]: of the k most relevant pixels of one map, the share that are also the other's.

    Raises:
        ValueError: maps of different shapes, or a k of none or more pixels than there are.
    """
    a, b = checks.pair(first, second)
    if not 1 <= k <= a[0].size:
        raise ValueError(f"k is {k}; expected from 1 to the {a[0].size} pixels of a map")
    sizes = np.full(len(a), k)
    return np.asarray(_shared(_top(a, sizes), _top(b, sizes)) / k)


def rank_correlation(first: Any, second: Any) -> Array:
    """[n]: Spearman's correlation of two maps, pixel by pixel; NaN where one is the same everywhere.

    Raises:
        ValueError: maps of different shapes, or not finite.
    """
    a, b = (rankdata(maps.reshape(len(maps), -1), axis=1) for maps in checks.pair(first, second))
    a, b = (ranks - ranks.mean(1, keepdims=True) for ranks in (a, b))
    sizes = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.asarray(np.divide((a * b).sum(1), sizes, out=np.full(len(a), np.nan), where=sizes > 0))


# ---------------------------------------------------------------------------------------- against what the model does


@torch.no_grad()
def pixel_flipping(
    model: Model, x: Tensor, maps: Any, target: Tensor, *, pixels: int = 1, most: float = 1.0, baseline: float = 0.0
) -> Array:
    """[n, steps + 1]: the class' probability as pixels are covered, the most relevant first (Bach et al. 2015).

    The first column is of the whole image. A faithful explanation lets it fall at once: a low mean is good.

    Args:
        model: from images to scores.
        x: [n, channels, height, width].
        maps: [n, height, width].
        target: [n] int64, the class whose probability is followed.
        pixels: covered at each step.
        most: the share of pixels that are covered at the end.
        baseline: what they are covered with.

    Raises:
        ValueError: images, maps or classes that do not belong together, no pixel a step, or a share that is none.
    """
    x, r, target = _explained(x, maps, target)
    checks.at_least_one(pixels=pixels)
    _check_shares([most])
    order = np.argsort(-r.reshape(len(r), -1), axis=1, kind="stable")
    hidden = x.clone().flatten(2)
    curve = []
    with undisturbed(model, x.device), torch.no_grad():
        checks.scores(model, x, target)  # of the right shape
        curve.append(_probability(model, x, target))
        for first in range(0, max(1, round(most * order.shape[1])), pixels):
            chosen = torch.from_numpy(order[:, first : first + pixels]).to(x.device)
            hidden.scatter_(2, chosen[:, None].expand(-1, x.shape[1], -1), baseline)
            curve.append(_probability(model, hidden.view_as(x), target))
    return torch.stack(curve, 1).double().cpu().numpy()


@torch.no_grad()
def road(
    model: Model,
    x: Tensor,
    maps: Any,
    target: Tensor,
    *,
    generator: torch.Generator,
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.5),
    noise: float = 0.01,
) -> Array:
    """[n, shares]: whether the class is still predicted when the most relevant pixels are filled in from around them.

    Remove and debias (Rong et al. 2022, arXiv:2202.00449): each removed pixel is the weighted mean of its eight
    neighbours, of which direct ones count twice as much as diagonal ones, all at once, and a little noise. What was
    removed is so harder to tell from its shape than when it is painted over. Low is good.

    Args:
        model: from images to scores.
        x: [n, channels, height, width].
        maps: [n, height, width].
        target: [n] int64, the class that is asked for.
        generator: of the noise, on the CPU.
        shares: of pixels that are removed, each from above 0 to below 1.
        noise: its standard deviation.

    Raises:
        ValueError: images, maps or classes that do not belong together, or shares that are none.
    """
    x, r, target = _explained(x, maps, target)
    _check_shares(shares)
    if max(shares) == 1:
        raise ValueError("a share is 1; some pixels must stay, from which the others can be filled in")
    order = np.argsort(-r.reshape(len(r), -1), axis=1, kind="stable")
    weights = _neighbours(*x.shape[2:])
    right = []
    with undisturbed(model, x.device), torch.no_grad():
        for share in shares:
            gone = np.sort(order[:, : max(1, round(share * order.shape[1]))], axis=1)
            filled = _filled(x.flatten(2).double().cpu().numpy(), gone, weights)
            drawn = noise * torch.randn(filled.shape, generator=generator, dtype=x.dtype)
            places = torch.from_numpy(gone)[:, None].expand(filled.shape).to(x.device)
            seen = x.flatten(2).scatter(2, places, (torch.from_numpy(filled).to(x.dtype) + drawn).to(x.device))
            right.append(model(seen.view_as(x)).argmax(1) == target)
    return torch.stack(right, 1).double().cpu().numpy()


@torch.no_grad()
def infidelity(
    model: Model,
    x: Tensor,
    contributions: Tensor,
    target: Tensor,
    *,
    generator: torch.Generator,
    share: float = 0.1,
    samples: int = 50,
    baseline: float = 0.0,
) -> Array:
    """[n]: how badly contributions foretell what the score loses when pixels are covered (Yeh et al. 2019).

    Pixels are drawn by lot, and it is the mean of (b times the sum of their contributions less what the score loses)²,
    with the factor b that makes it least, since a method's unit is arbitrary (arXiv:1901.09392, where I is x - baseline
    at the drawn pixels).

    Args:
        model: from images to scores.
        x: [n, channels, height, width].
        contributions: with signs, of the shape of x or with one channel; of a gradient, take it times x - baseline.
        target: [n] int64, the class that is explained.
        generator: of the draws, on the CPU.
        share: the chance of each pixel to be covered, above 0 and at most 1.
        samples: draws, the same for all images.
        baseline: what pixels are covered with.

    Raises:
        ValueError: images, contributions or classes that do not belong together, no sample, or a share that is none.
    """
    x = checks.images(x)
    target = checks.classes(target, x)
    checks.at_least_one(samples=samples)
    _check_shares([share])
    if contributions.shape not in (x.shape, (len(x), 1, *x.shape[2:])):
        raise ValueError(f"contributions have shape {list(contributions.shape)}; expected {list(x.shape)}, as x has")
    foretold, lost = [], []
    with undisturbed(model, x.device), torch.no_grad():
        whole = checks.scores(model, x, target)
        for _ in range(samples):
            covered = (torch.rand(x.shape[2:], generator=generator) < share).to(x.device)
            foretold.append((contributions * covered).sum((1, 2, 3)))
            lost.append(whole - checks.scores(model, x.masked_fill(covered, baseline), target))
    a, d = (torch.stack(values).double().cpu().numpy() for values in (foretold, lost))
    size = (a**2).mean(0)
    factor = np.divide((a * d).mean(0), size, out=np.zeros(len(x)), where=size > 0)
    return np.asarray(((factor * a - d) ** 2).mean(0))


def max_sensitivity(
    explain: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    generator: torch.Generator,
    radius: float = 0.02,
    samples: int = 10,
) -> Array:
    """[n]: how far an explanation moves at most, over its length, when the image moves a little (Yeh et al. 2019).

    Args:
        explain: from images to attributions [n, ...], of the same classes.
        x: [n, channels, height, width].
        generator: of uniform noise, on the CPU.
        radius: of each pixel's noise.
        samples: draws of it.

    Raises:
        ValueError: no images or no sample. Where the explanation is 0 everywhere, what is given is NaN.
    """
    x = checks.images(x)
    checks.at_least_one(samples=samples)
    here = explain(x).detach().flatten(1).double()
    worst = torch.zeros(len(x), dtype=torch.float64, device=here.device)
    for _ in range(samples):
        moved = radius * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device) - 1)
        worst = worst.maximum((explain(x + moved).detach().flatten(1).double() - here).norm(dim=1))
    lengths = here.norm(dim=1)
    return torch.where(lengths > 0, worst / lengths, torch.nan).cpu().numpy()


def randomised(model: nn.Module, *, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a model with more and more of its layers drawn anew, from the last to the first (Adebayo et al. 2018).

    The randomisation test (arXiv:1810.03292; Quantus' MPRT) compares their explanations with those of the model: one
    that stays does not explain what was learnt. ``rank_correlation(explain(model), explain(copy))`` does so.

    Args:
        model: any module; its layers are the modules that have ``reset_parameters`` and weights of their own, in the
            order in which they were registered.
        seed: of the new weights.

    Yields:
        The name of the layer that was drawn anew last, and the copy. Every copy is a network of its own.

    Raises:
        ValueError: no layer can be drawn anew.
    """
    names = [name for name, module in model.named_modules() if _can_be_reset(module)]
    if not names:
        raise ValueError("the model has no layer with reset_parameters; give one that is made of torch.nn's layers")
    now = model
    devices = sorted({p.device for p in model.parameters() if p.device.type == "cuda"}, key=str)
    for k, name in enumerate(reversed(names)):
        now = copy.deepcopy(now)
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed + k)
            now.get_submodule(name).reset_parameters()  # type: ignore[operator]
        yield name, now


# -------------------------------------------------------------------------------------------------------------- parts


def _top(maps: Array, sizes: NDArray[np.int64]) -> Array:
    """[n, height, width]: the chance that each pixel is among the sizes[i] most relevant; ties share what is left."""
    flat = maps.reshape(len(maps), -1)
    least = -np.sort(-flat, axis=1)[np.arange(len(flat)), sizes - 1][:, None]
    above, tied = flat > least, flat == least
    share = (sizes - above.sum(1)) / tied.sum(1)
    return np.asarray((above + tied * share[:, None]).reshape(maps.shape))


def _shared(values: Array, others: Array | NDArray[np.bool_]) -> Array:
    """[n]: the sum over pixels of a product."""
    return np.asarray((values * others).sum((1, 2)))


def _explained(x: Any, maps: Any, target: Any) -> tuple[Tensor, Array, Tensor]:
    """Images, their maps and classes."""
    x = checks.images(x)
    r = checks.maps("maps", maps)
    if r.shape != (len(x), *x.shape[2:]):
        raise ValueError(f"maps have shape {list(r.shape)}; expected {[len(x), *x.shape[2:]]}, one an image")
    return x, r, checks.classes(target, x)


def _check_shares(shares: Sequence[float]) -> None:
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares of pixels are {list(shares)}; expected numbers above 0, and 1 at most")


def _probability(model: Model, x: Tensor, target: Tensor) -> Tensor:
    return model(x).softmax(1).gather(1, target[:, None])[:, 0]


def _neighbours(height: int, width: int) -> sparse.csr_array:
    """[pixels, pixels]: the weights with which the eight neighbours of each make up its mean."""
    near = [sparse.diags_array([np.ones(n - 1)] * 2, offsets=[-1, 1], shape=(n, n)) for n in (height, width)]
    here = [sparse.eye_array(n) for n in (height, width)]
    direct = sparse.kron(near[0], here[1]) + sparse.kron(here[0], near[1])
    weights = sparse.csr_array(2 * direct + sparse.kron(*near))
    return sparse.csr_array(weights.multiply(1 / weights.sum(1)[:, None]))


def _filled(flat: Array, gone: NDArray[np.int64], weights: sparse.csr_array) -> Array:
    """[n, channels, k]: what the k pixels ``gone`` [n, k] of images [n, channels, pixels] are if all are such means."""
    n, channels, pixels = flat.shape
    at_once = max(1, AT_ONCE // pixels)
    parts = []
    for first in range(0, n, at_once):  # several images are one sparse system, of blocks
        images = flat[first : first + at_once]
        places = (gone[first : first + at_once] + pixels * np.arange(len(images))[:, None]).ravel()
        rows = sparse.kron(sparse.eye_array(len(images)), weights, format="csr")[places]
        known = images.transpose(0, 2, 1).reshape(-1, channels).copy()
        known[places] = 0
        unknown = sparse.csc_array(sparse.eye_array(len(places)) - rows[:, places])
        parts.append(splu(unknown).solve(rows @ known).reshape(len(images), -1, channels).transpose(0, 2, 1))
    return np.concatenate(parts)


def _can_be_reset(module: nn.Module) -> bool:
    own = next(module.parameters(recurse=False), None)
    return own is not None and callable(getattr(module, "reset_parameters", None))
