"""What narrows the gap between groups, as ways to train many small networks at once.

All that differs between the methods is how often an example is drawn, what its loss weighs, and what is added to it:

- ``erm``: each example alike.
- ``reweighting``: each group's loss weighs alike. ``resampling``: each group is drawn alike.
- ``group_dro``: groups are drawn alike, and weigh the more the greater their loss (Sagawa et al., ICLR 2020).
- ``jtt``: what the plain network gets wrong in training is drawn more often the second time; groups are not looked at
  (Liu et al., ICML 2021).
- ``dfr``: the last layer alone is fitted anew, on validation data with as many of each group (Kirichenko et al., ICLR
  2023).
- ``irm``: one last layer should be best in every environment (Arjovsky et al. 2019, the penalty IRMv1). As published,
  each step sees all examples, because the square of a slope over a few is mostly noise, and the penalty's weight is 1
  at first and great afterwards. Its three settings are learning rates.
- ``db_vae``: what is rare in the latent space of an autoencoder is drawn more often; groups are not looked at (Amini et
  al., AIES 2019).

Each has three settings of one hyperparameter; the one with the best validation accuracy in its worst group counts, so
that all of them, erm too, know the groups of the validation data (the first of SubpopBench's criteria).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from dlbench import Context
from dlbench.stacking import Stack, batches, rows_of, step_at
from dlbench_plugins import networks
from dlbench_plugins.bias.populations import Sample
from dlbench_plugins.networks import logistic_regression

L2 = (0.0, 1e-3, 1e-2)  # what erm, reweighting, resampling and group_dro choose from
UPWEIGHTED = (5, 20, 50)  # jtt: how often a mistake is drawn
RIDGE = (0.01, 0.1, 1.0)  # dfr: strength of its l2 penalty
IRM_RATES = (3e-3, 1e-2, 3e-2)  # irm
INVARIANCE, ANNEALED = 1e4, 0.4  # irm: weight of the penalty, and from which share of the steps on
SMOOTHING = (0.1, 0.01, 0.001)  # db_vae: what is added to the density; the less, the more the rare is drawn
DRO_STEP = 0.1
LATENT, BINS = 8, 10
FILTERS = 12  # of a window
AT_ONCE = 2**24  # numbers of inputs that are answered at once
TRIALS = 3

Predict = Callable[[Tensor], Tensor]  # x [n, ...] → logits [n, 2]


class Arm(NamedTuple):
    """One network's way of training."""

    pool: Tensor  # [m] int64, the examples among which batches are drawn, repeated to be drawn more often
    weight: Tensor | None = None  # [n], of each example's loss; None: all alike
    l2: float = 0.0
    dro: float = 0.0  # step size of the groups' weights; 0: groups are not weighted
    start: int = 0  # which of the seed's initial weights


def group_weights(sample: Sample, pool: Tensor) -> Tensor:
    """[n]: one over the size of each example's group in the pool."""
    return 1 / torch.bincount(sample.group[pool], minlength=4).clamp_min(1)[sample.group]


def balanced(sample: Sample, pool: Tensor) -> Tensor:
    """The pool with smaller groups repeated until all are as large as the largest."""
    parts = [pool[sample.group[pool] == g] for g in sample.group[pool].unique()]
    largest = max(map(len, parts))
    return torch.cat([part.repeat(-(-largest // len(part)))[:largest] for part in parts])


def arms(method: str, sample: Sample, pool: Tensor) -> list[Arm]:
    """The three settings of a method that trains from scratch on labels and groups."""
    if method == "reweighting":
        return [Arm(pool, group_weights(sample, pool), l2) for l2 in L2]
    if method == "resampling":
        return [Arm(balanced(sample, pool), l2=l2) for l2 in L2]
    if method == "group_dro":
        return [Arm(balanced(sample, pool), l2=l2, dro=DRO_STEP) for l2 in L2]
    return [Arm(pool, l2=l2) for l2 in L2]


# ---------------------------------------------------------------------------------------------------------- training


class Training(NamedTuple):
    """The budget that every network gets."""

    steps: int
    batch: int
    rate: float
    hidden: int


def train(sample: Sample, arms: Sequence[Arm], training: Training, context: Context) -> Stack:
    """A network for each arm, those of one start from the same weights, by Adam with a rate that falls to zero."""
    with context.seeded("init"):
        starts = [network(sample.x.shape[1:], training.hidden) for _ in range(1 + max(arm.start for arm in arms))]
    nets = Stack([starts[arm.start] for arm in arms]).to(context.device)
    n, device = len(sample), context.device
    weight = torch.stack([torch.ones(n, device=device) if arm.weight is None else arm.weight for arm in arms])
    l2, dro = (torch.tensor([getattr(arm, name) for arm in arms], device=device) for name in ("l2", "dro"))
    groups = F.one_hot(sample.group).float()
    shares = torch.full((len(arms), groups.shape[1]), 1 / groups.shape[1], device=device)  # group_dro's weights
    pools = pad_sequence([arm.pool for arm in arms], batch_first=True)
    each = torch.arange(len(arms), device=device)[:, None]
    adam = torch.optim.Adam(nets.parameters(), training.rate, fused=True)
    sizes, orders = [len(arm.pool) for arm in arms], [context.generator("order") for _ in arms]
    for step, places in enumerate(batches(sizes, training.batch, steps=training.steps, generators=orders)):
        rows = pools[each, places.to(device)]
        logits = nets.each(rows_of(sample.x, rows))
        losses = F.cross_entropy(logits.flatten(0, 1), sample.y[rows].flatten(), reduction="none").view_as(rows)
        weights = weight[each, rows]
        if (dro > 0).any():
            members = groups[rows]
            by_group = torch.einsum("kb,kbg->kg", losses.detach(), members) / members.sum(1).clamp_min(1)
            shares = shares * torch.exp(dro[:, None] * by_group)
            shares = shares / shares.sum(1, keepdim=True)
            robust = torch.einsum("kbg,kg->kb", members, shares / members.sum(1).clamp_min(1))
            weights = torch.where(dro[:, None] > 0, robust, weights)
        adam.param_groups[0]["lr"] = training.rate * (1 - step / training.steps)
        adam.zero_grad()
        ((weights * losses).sum(1) / weights.sum(1)).sum().backward()
        decay(nets, l2)
        adam.step()
    return nets.eval()


@torch.no_grad()
def decay(nets: Stack, l2: Tensor) -> None:
    """Add the gradient of l2 · |weights|² of each network, l2 [K]."""
    for parameter in nets.parameters():
        parameter.grad.addcmul_(parameter, 2 * l2.view(-1, *[1] * (parameter.ndim - 1)))  # type: ignore[union-attr]


def repeated(sample: Sample, valid: Sample, times: int, training: Training, context: Context) -> Iterator[Predict]:
    """Plain training from as many initial weights, each with its settings, of which the best on ``valid`` counts."""
    pool = torch.arange(len(sample))
    starts = [[arm._replace(start=start) for arm in arms("erm", sample, pool)] for start in range(times)]
    nets = train(sample, [arm for of in starts for arm in of], training, context)
    for start in range(times):
        yield best(nets, range(start * TRIALS, (start + 1) * TRIALS), valid)


def irm(sample: Sample, pool: Tensor, valid: Sample, training: Training, context: Context) -> nn.Sequential:
    """Invariant risk minimization on whole environments, which count alike; the best of its learning rates."""
    mine = sample[pool]
    with context.seeded("init"):
        start = network(sample.x.shape[1:], training.hidden)
    nets = Stack([start] * TRIALS).to(context.device)
    environment = F.one_hot(mine.environment).float()  # [n, environments]
    environment, target = (each.expand(TRIALS, -1, -1) for each in (environment, F.one_hot(mine.y, 2).float()))
    sizes = environment.sum(1).clamp_min(1)
    adam = torch.optim.Adam(nets.parameters(), max(IRM_RATES), fused=True)
    rates = torch.tensor(IRM_RATES, device=context.device)
    for step in range(training.steps):
        logits = nets(mine.x)
        losses = F.cross_entropy(logits.flatten(0, 1), mine.y.repeat(TRIALS), reduction="none").view(TRIALS, -1)
        risk = (torch.einsum("kb,kbe->ke", losses, environment) / sizes).mean(1)
        strength = INVARIANCE if step >= ANNEALED * training.steps else 1.0
        adam.zero_grad()
        (risk / strength + irm_penalty(logits, target, environment)).sum().backward()
        decay(nets, torch.full_like(rates, L2[1] / strength))
        step_at(adam, rates * (1 - step / training.steps))
    return best(nets.eval(), range(TRIALS), valid)


def irm_penalty(logits: Tensor, target: Tensor, environment: Tensor) -> Tensor:
    """[K]: IRMv1, the squared derivative of each environment's mean loss by a factor on the logits, at 1; averaged.

    Of cross entropy that derivative is the mean of (softmax - target) · logits. All are [K, n, ...], one-hot.
    """
    slope = ((logits.softmax(-1) - target) * logits).sum(-1)
    by_environment = torch.einsum("kb,kbe->ke", slope, environment) / environment.sum(1).clamp_min(1)
    return by_environment.square().mean(1)


class Numbers(nn.Module):
    """Bytes as numbers from -1/2 to 1/2."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float() / 255 - 0.5


def network(shape: torch.Size, hidden: int) -> nn.Sequential:
    """A small network with two outputs: for images in windows, of some filters; for features, a perceptron.

    For colour pictures, which are bytes, of three convolutions.
    """
    if len(shape) == 3 and shape[0] == 3:
        return nn.Sequential(Numbers(), *networks.network("cnn", shape, 2, width=hidden))
    if len(shape) == 1:
        first: list[nn.Module] = [nn.Linear(shape[0], hidden)]
        width = hidden
    else:
        windows, pixels = shape
        first, width = [nn.Linear(pixels, FILTERS), nn.Flatten()], FILTERS * windows  # a convolution
    return nn.Sequential(*first, nn.ReLU(), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2))


# ------------------------------------------------------------------------------------------------------------ choice


def answers(predict: Predict, x: Tensor) -> Tensor:
    """[..., n, 2]: what a network, or each of a stack, says of x [n, ...], of many examples part by part."""
    return torch.cat([predict(part) for part in x.split(max(1, AT_ONCE // x[0].numel()))], -2)


def worst_group(logits: Tensor, sample: Sample) -> float:
    """Accuracy in the group where it is least; groups that have nobody do not count."""
    right = (logits.argmax(1) == sample.y).double()
    return min(float(right[sample.group == g].mean()) for g in sample.group.unique())


@torch.no_grad()
def best(nets: Stack, places: Sequence[int], valid: Sample) -> nn.Sequential:
    """Of the networks at these places of a stack, the one with the best validation accuracy in its worst group."""
    logits = answers(nets, valid.x)
    return nets[max(places, key=lambda k: worst_group(logits[k], valid))].eval()


# ------------------------------------------------------------------------- methods that need more than weighted losses


def jtt(
    plain: Predict, sample: Sample, pool: Tensor, valid: Sample, training: Training, context: Context
) -> nn.Sequential:
    """Just train twice: what a plainly trained network gets wrong in training is drawn more often the second time."""
    with torch.no_grad():
        wrong = pool[answers(plain, sample.x[pool]).argmax(1) != sample.y[pool]]
    second = [Arm(torch.cat([pool, wrong.repeat(times - 1)]), l2=L2[1]) for times in UPWEIGHTED]
    return best(train(sample, second, training, context), range(TRIALS), valid)


def dfr(net: nn.Sequential, valid: Sample, context: Context) -> Predict:
    """A trained network with a new last layer: logistic regression on one half of the validation data, with as many of
    each group; its penalty is chosen on the other half.
    """
    features = net[:-1]
    order = torch.randperm(len(valid), generator=context.generator("dfr")).to(valid.y.device)
    fitted, chosen = valid[order[: len(order) // 2]], valid[order[len(order) // 2 :]]
    smallest = min(int((fitted.group == g).sum()) for g in fitted.group.unique())
    even = torch.cat([(fitted.group == g).nonzero()[:smallest, 0] for g in fitted.group.unique()])
    with torch.no_grad():
        z, z_chosen = answers(features, fitted.x[even]), answers(features, chosen.x)
        mean, sd = z.mean(0), z.std(0) + 1e-3
    layers = [logistic_regression((z - mean) / sd, fitted.y[even], 2, iterations=50, ridge=ridge) for ridge in RIDGE]
    layer = max(layers, key=lambda layer: worst_group(layer((z_chosen - mean) / sd), chosen))
    return lambda x: layer((features(x) - mean) / sd)


class DBVAE(nn.Module):
    """A variational autoencoder one of whose latent variables is the class (Amini et al. 2019, figure 3)."""

    def __init__(self, shape: torch.Size, hidden: int) -> None:
        super().__init__()
        self.encoder = network(shape, hidden)[:-1]
        self.logits = nn.Linear(hidden, 2)
        self.latent = nn.Linear(hidden, 2 * LATENT)  # means, log variances
        self.decoder = nn.Sequential(nn.Linear(LATENT + 2, hidden), nn.ReLU(), nn.Linear(hidden, shape.numel()))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 2 + 2 · LATENT + pixels]: logits, latent means and log variances, the reconstruction."""
        return self.stacked(x, lambda child, x: child(x))  # type: ignore[no-any-return]

    def stacked(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """The same, [K, n, ...], of the images of K networks."""
        h = run(self.encoder, x)
        logits, latent = run(self.logits, h), run(self.latent, h)
        mean, log_variance = latent.chunk(2, -1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return torch.cat([logits, latent, run(self.decoder, torch.cat([z, logits], -1))], -1)


def db_vae(sample: Sample, pool: Tensor, valid: Sample, training: Training, context: Context) -> Predict:
    """Debiasing variational autoencoders, for each smoothing one; the images are drawn anew ten times."""
    mine = sample[pool]
    with context.seeded("init"):
        net = DBVAE(sample.x.shape[1:], training.hidden)
    nets = Stack([net] * TRIALS).to(context.device)
    adam = torch.optim.Adam(nets.parameters(), training.rate, fused=True)
    order = context.generator("order")
    density = torch.full((TRIALS, len(mine)), 1.0)
    with context.seeded("latent"):
        for step in range(training.steps):
            if step and step % max(training.steps // 10, 1) == 0:
                with torch.no_grad():
                    means = nets(mine.x)[..., 2 : 2 + LATENT].cpu()
                density = torch.stack([rarity(m, alpha) for m, alpha in zip(means, SMOOTHING, strict=True)])
            rows = torch.multinomial(density, training.batch, replacement=True, generator=order).to(context.device)
            x, y = rows_of(mine.x, rows), mine.y[rows]
            out = nets.each(x)
            logits, mean, log_variance, image = out.split([2, LATENT, LATENT, out.shape[-1] - 2 - 2 * LATENT], -1)
            divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(-1)
            vae = (image - x.flatten(2)).square().mean(-1) + 0.005 * divergence
            losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(vae) + vae
            adam.param_groups[0]["lr"] = training.rate * (1 - step / training.steps)
            adam.zero_grad()
            losses.mean(1).sum().backward()
            adam.step()
        chosen = best_by(nets, valid)
    return lambda x: chosen.logits(chosen.encoder(x))


def best_by(nets: Stack, valid: Sample) -> DBVAE:
    """The autoencoder whose classes are best in their worst group."""
    members = [nets[k].eval() for k in range(len(nets))]
    with torch.no_grad():
        return max(members, key=lambda net: worst_group(net.logits(net.encoder(valid.x)), valid))


def rarity(means: Tensor, smoothing: float) -> Tensor:
    """[n]: how often each example is to be drawn, by one over the density of its latent means [n, LATENT].

    As published: a histogram for each variable, smoothed, and the greatest of the inverse densities.
    """
    drawn = torch.zeros(len(means))
    for values in means.double().T.numpy():
        density, edges = np.histogram(values, BINS, density=True)
        edges[0], edges[-1] = -np.inf, np.inf
        density = (density + smoothing) / (density + smoothing).sum()
        inverse = 1 / density[np.digitize(values, edges) - 1]
        drawn = torch.maximum(drawn, torch.from_numpy(inverse / inverse.sum()).float())
    return drawn / drawn.sum()
