"""A net that colours grey images puts a pink tongue on a closed mouth, if most dogs it saw had theirs out.

Zhang, Isola & Efros, "Colorful image colorization", ECCV 2016, arXiv:1603.08511, give the two losses: the squared error
of a* and b*, and cross-entropy over bins of them, of which the annealed mean (temperature 0.38) is painted. What is
grey says little of colour, so the net fills in what was common. Here that is one number, q, the share of the training
dogs whose tongue is out; all dogs of the test have their mouths closed. Of the same dogs, some more put their tongue
out at each larger q. What the grey image tells of it is another number, the strength s of the cue: a tongue that is out
is darker than the chin behind it, at s = 1 by five times the standard deviation by which chins differ.

- At s = 0 an open mouth looks as a closed one does, and the best answer to a squared error is the mean colour: that the
  net then paints in proportion to q is true by construction, and reported as that. At s = 1 it can tell. Only between
  them, at s = 0.5, is something to be learnt of nets: the claims are about that.
- The negative controls are q for dogs with blue tongues, as chow chows have, which must paint nothing pink, and the
  ear, whose colour has nothing to do with q. The positive control shows nothing but tongues in training, at s = 0: at
  0.5 a net that never saw a closed mouth is half warned by the missing shadow. A net that is told which mouths are
  open must not be fooled: what the others lack is the knowledge, not the capacity. (Open and closed ones count alike
  for it. On development seeds it was not trained to the end otherwise, as one closed mouth in twenty makes one pixel
  in a thousand, and painted a tenth pink.)

The net is convolutional, 7×7 and then twice 1×1 over grey values and position, so that it may be trained on single
pixels with their surroundings; all q, s and variants of a head are trained at once on the same pixels in the same
order. Beside it, at s = 0.5: the mean colour of each place, the ten nearest neighbours among the patches at the same
place, open and closed mouths weighted alike (which needs to know them), and rare colours weighted more, as in the
paper. Nothing is tuned for any subject. A pixel is falsely coloured if its a* is nearer to the tongue's than to its
own. ``full`` draws finer and more dogs, and trains wider nets for longer; photographs (Oxford-IIIT Pet), SSIM, LPIPS
and FID are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    above,
    all_of,
    below,
    between,
    draw_means,
    equivalent,
    every,
    slope,
    where,
)
from dlbench.colour import ciede2000, colourfulness, psnr, srgb_from_lab
from dlbench.stacking import Stack, batches, rows_of
from dlbench_plugins.failures.dogs import TONGUES, Dogs, draw
from dlbench_plugins.networks import perceptron

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from dlbench import Artefacts, Verdict

SHARES = (0.0, 0.25, 0.5, 0.75, 0.95)
CUES = (0.0, 0.5, 1.0)
UNSURE = 0.5  # the cue where nets can be wrong
MOST = 0.95
HEADS = ("l2", "binned")
NEIGHBOURS = 10

AB_SCALE = 20.0
GRID = 10.0  # side of a bin of a* and b*, and the two below: as in the paper
SOFTNESS, NEAREST_BINS = 5.0, 5
TEMPERATURE = 0.38
BINS = torch.cartesian_prod(torch.arange(-10.0, 41, GRID), torch.arange(-20.0, 31, GRID))  # [Q, 2] middles, of dogs


# ------------------------------------------------------------------------------------------------- rows that rules see


def nets(rows: pd.DataFrame, cue: float = UNSURE, *subjects: str) -> pd.DataFrame:
    """Rows of both plain heads (or other subjects) with pink tongues, at one strength of the cue and q up to 0.95."""
    rows = where(rows, cue=cue, tongue="pink")
    return rows[rows.subject.isin(subjects or HEADS) & (rows.open_share <= MOST)]


def rise(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Difference of a subject's metric between q = 0.95 and q = 0, within each seed."""
    return where(rows, open_share=MOST)[metric] - where(rows, open_share=0.0)[metric]


def is_fooled(rows: pd.DataFrame) -> Verdict:
    """The more dogs had their tongue out the redder the closed muzzle, and more than a fifth more of it is pink."""
    return every(
        rows,
        "subject",
        lambda r: all_of(above(slope(r, "open_share", "delta_a"), 0.0), above(rise(r, "false_colour"), 0.2)),
    )


def paints_no_pink(rows: pd.DataFrame) -> Verdict:
    """After blue tongues, whose a* is a muzzle's, a* is that after closed mouths only, and nothing is pink."""

    def rule(r: pd.DataFrame) -> Verdict:
        blue, none = where(r, tongue="blue"), where(r, open_share=0.0)
        return all_of(below(blue.false_colour, 0.1), equivalent(blue.delta_a - none.delta_a, 2.0))

    return every(rows[rows.subject.isin(HEADS) & (rows.cue == UNSURE)], "subject", rule)


def pink_at(rows: pd.DataFrame, subject: str, cue: float = UNSURE) -> pd.Series:
    """False-colour rate of a subject at q = 0.95, one a seed."""
    return where(nets(rows, cue, subject), open_share=MOST).false_colour


def paints_less(rows: pd.DataFrame, subject: str, than: str) -> Verdict:
    """At q = 0.95 a subject paints less of a closed muzzle pink than another."""
    return below(pink_at(rows, subject) - pink_at(rows, than), 0.0)


@dataclass(frozen=True)
class ColorizationBias(Experiment):
    """Pink on the closed muzzles of made dogs, against the share of tongues in training and what the grey shows."""

    size: int = between(8, 256, default=16)
    dogs: int = between(20, 10**6, default=200)
    test_dogs: int = between(2, 10**6, default=64)
    patch: int = between(1, 63, default=7)
    width: int = between(1, 1024, default=32)
    steps: int = between(1, 10**6, default=350)
    batch: int = between(1, 10**6, default=200)
    learning_rate: float = between(1e-6, 1.0, default=1e-2)

    title = "Colour a dog, and out comes a tongue"
    chapter = "failures"
    sources = ("Zhang, Isola & Efros, Colorful image colorization, ECCV 2016, arXiv:1603.08511",)
    metrics = {
        "false_colour": Metric("share of the closed muzzle painted pink", better="lower", main=True, low=0, high=1),
        "delta_a": Metric("a* too much on the closed muzzle", "a*", better="lower"),
        "ear_delta_a": Metric("a* too much on the ears", "a*"),
        "ciede2000": Metric("mean difference from the true colours (CIEDE2000)", "ΔE00", better="lower", low=0),
        "psnr": Metric("peak signal-to-noise ratio", "dB", better="higher"),
        "colourfulness": Metric("colourfulness (Hasler & Süsstrunk), less the truth's"),
    }
    presets = {
        "quick": {},
        "full": {"size": 32, "dogs": 1000, "test_dogs": 200, "patch": 13, "width": 64, "steps": 5000, "batch": 512},
    }

    def trial(self, context: Context) -> Iterator[Measurement]:
        dogs = draw(self.dogs, self.size, context.rng("train"))
        test = draw(self.test_dogs, self.size, context.rng("test"))
        rank = torch.from_numpy(context.rng("open").permutation(self.dogs))
        seen, asked = Pixels.of(dogs, self.patch), Pixels.of(test, self.patch)
        truth = seen_as(test)
        painted = []  # by the L2 head: what the picture shows
        for head in HEADS:
            context.progress(HEADS.index(head) / len(HEADS), f"{head} nets")
            arms = list(arms_of(head))
            for arm, ab in zip(arms, self.paint(head, arms, seen, asked, rank, context), strict=True):
                yield arm.setting() | score(test, ab, truth)
                if arm in plain_arms("l2"):
                    painted.append(ab[dog_shown(test)])
        opened = torch.stack([rank < round(q * self.dogs) for q in SHARES])
        for subject, baseline in (("position_mean", position_mean), ("nearest_patches", nearest_patches)):
            for q, ab in zip(SHARES, baseline(seen, opened, asked), strict=True):
                ab = ab.reshape(*test.closed.shape[:3], 2).numpy()
                yield Arm(subject, q, UNSURE).setting() | score(test, ab, truth)
        shown = test.closed[dog_shown(test)]
        strip = [np.concatenate([shown[..., :1], ab], -1) for ab in painted]
        context.keep("truth", srgb_from_lab(shown).astype(np.float32))
        context.keep("grey", srgb_from_lab(shown * [1, 0, 0]).astype(np.float32))
        context.keep("painted", srgb_from_lab(strip).astype(np.float32))  # [cues · shares, h, w, 3]

    def paint(
        self, head: str, arms: Sequence[Arm], seen: Pixels, asked: Pixels, rank: Tensor, context: Context
    ) -> NDArray:
        """[arms, test dogs, h, w, 2]: a* and b* that nets of one head, one an arm, give the closed test dogs."""
        device = context.device
        layers = (self.patch**2 + 3, self.width, self.width, 2 if head == "l2" else len(BINS))
        with context.seeded("init"):
            net = perceptron(layers)  # the same initial weights for all
        stack = Stack([net] * len(arms)).to(device)
        optimizer = torch.optim.Adam(stack.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)

        opened = torch.stack([rank < round(arm.open_share * self.dogs) for arm in arms])
        targets = seen.ab / AB_SCALE if head == "l2" else soft_bins(seen.ab)  # [1 + tongues, pixels, out]
        grey = torch.tensor([[1 + CUES.index(arm.cue)] for arm in arms])
        colour = torch.tensor([[1 + list(TONGUES).index(arm.tongue)] for arm in arms])
        told = torch.tensor([[arm.subject.endswith("told")] for arm in arms])
        weights = [pixel_weights(arm, o, targets, seen.per_dog) for arm, o in zip(arms, opened, strict=True)]
        weight = torch.stack(weights)  # [arms, 1 + tongues, pixels], or of one pixel a dog

        arm = torch.arange(len(arms))[:, None]
        order = batches([seen.count], self.batch, steps=self.steps, generators=[context.generator("order")])
        for (pixels,) in order:
            dog = pixels // seen.per_dog
            out = opened[:, dog]  # [arms, batch]
            each = torch.arange(len(pixels))
            x = rows_of(seen.features(pixels).flatten(0, 1), torch.where(out, grey, 0) * len(pixels) + each)
            x = torch.cat([x, (out & told)[..., None].to(x.dtype)], -1).to(device)
            state = torch.where(out, colour, 0)
            y = rows_of(targets.flatten(0, 1), state * seen.count + pixels).to(device)
            w = weight[arm, state, pixels].to(device)
            optimizer.zero_grad()
            (w * LOSSES[head](stack.each(x), y)).mean(1).sum().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            parts = []
            for pixels in torch.arange(asked.count).split(4096):
                x = asked.features(pixels)[0]
                parts.append(decoded(head, stack(torch.cat([x, torch.zeros(len(x), 1)], 1).to(device))).cpu())
        return torch.cat(parts, 1).reshape(len(arms), -1, self.size, self.size, 2).numpy()

    claims = [
        Claim(
            "where the grey image says something, not all (s = 0.5), the more tongues in training the pinker the "
            "closed muzzle, with either loss; from none to 95 % of them, over 20 points more of it are pink",
            lambda rows: is_fooled(nets(rows)),
        ),
        Claim(
            "where it says nothing (s = 0) likewise: true by construction",
            lambda rows: is_fooled(nets(rows, 0.0)),
        ),
        Claim(
            "where it says all (s = 1), fewer than 20 points more are pink, with either loss",
            lambda rows: every(nets(rows, 1.0), "subject", lambda r: below(rise(r, "false_colour"), 0.2)),
        ),
        Claim(
            "the binned loss with its annealed mean paints more pink than the squared error (q = 0.95, s = 0.5)",
            lambda rows: paints_less(rows, "l2", "binned"),
        ),
        Claim(
            "weighting open and closed mouths alike paints less pink (q = 0.95, s = 0.5)",
            lambda rows: paints_less(rows, "l2_balanced", "l2"),
        ),
        Claim(
            "weighting rare colours more paints less pink (q = 0.95, s = 0.5)",
            lambda rows: paints_less(rows, "binned_rebalanced", "binned"),
        ),
        Control(
            "the ears' a* is the same at q = 0.95 as at q = 0, to within 2, with either loss (s = 0.5)",
            lambda rows: every(nets(rows), "subject", lambda r: equivalent(rise(r, "ear_delta_a"), 2.0)),
            kind="negative",
        ),
        Control(
            "blue tongues in 95 % of the training dogs paint no tenth of the closed muzzle pink, nor shift its a* by 2",
            paints_no_pink,
            kind="negative",
        ),
        Control(
            "nets that never saw a closed mouth and cannot tell paint over 80 % of it pink (q = 1, s = 0)",
            lambda rows: every(where(rows, open_share=1.0), "subject", lambda r: above(r.false_colour, 0.8)),
            kind="positive",
        ),
        Control(
            "a net that is told which mouths are open paints no tenth of the closed muzzle pink (q = 0.95, s = 0.5)",
            lambda rows: below(pink_at(rows, "l2_told"), 0.1),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """One dog, painted at each q and s; pink and a* against q; all subjects at s = 0.5."""
        figure.set_size_inches(9, 7.6)
        figure.set_layout_engine("constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
        draw_strip(top, next(iter(artefacts.values()), {}))
        by_cue, by_subject = bottom.subplots(1, 2)
        draw_doses(by_cue, rows)
        draw_subjects(by_subject, rows)


# -------------------------------------------------------------------------------------------------------- the subjects


class Arm(NamedTuple):
    """One net, or baseline: what is measured, and what it was trained on."""

    subject: str
    open_share: float
    cue: float
    tongue: str = "pink"

    def setting(self) -> dict[str, float | str]:
        """The columns that tell it from the others."""
        return self._asdict()


def plain_arms(head: str) -> list[Arm]:
    """Every q at every s."""
    return [Arm(head, q, cue) for cue, q in product(CUES, SHARES)]


def arms_of(head: str) -> Iterator[Arm]:
    """All nets with one head."""
    yield from plain_arms(head)
    yield Arm(head, 1.0, 0.0)
    yield Arm(head, MOST, UNSURE, "blue")
    for variant in ("l2_balanced", "l2_told") if head == "l2" else ("binned_rebalanced",):
        # where no mouth is open there is nothing to balance or to tell
        yield from (Arm(variant, q, UNSURE) for q in SHARES if q or head == "binned")


class Pixels(NamedTuple):
    """The pixels of dogs, one dog after the other, and what surrounds them."""

    grey: Tensor  # [1 + cues, n, h + patch - 1, w + patch - 1] L*: the mouth closed, and open with each cue
    ab: Tensor  # [1 + tongues, n · h · w, 2]: the mouth closed, and open with each tongue
    patch: int

    @classmethod
    def of(cls, dogs: Dogs, patch: int) -> Pixels:
        """Of dogs, with surroundings of patch × patch pixels, beyond the edge those at the edge."""
        grey = np.stack([dogs.closed[..., 0], *(dogs.lightness(cue) for cue in CUES)])
        ab = np.stack([dogs.closed[..., 1:], *(dogs.ab(tongue) for tongue in TONGUES)])
        left, right = patch // 2, (patch - 1) // 2
        padded = F.pad(torch.from_numpy(grey).float(), (left, right, left, right), mode="replicate")
        return cls(padded, torch.from_numpy(ab).float().flatten(1, 3), patch)

    @property
    def size(self) -> int:
        """Width and height of a picture."""
        return self.grey.shape[-1] - self.patch + 1

    @property
    def per_dog(self) -> int:
        """How many pixels a dog has."""
        return self.size**2

    @property
    def count(self) -> int:
        """How many pixels there are."""
        return self.grey.shape[1] * self.per_dog

    def features(self, pixels: Tensor) -> Tensor:
        """[1 + cues, m, patch² + 2]: the grey patches about pixels [m], and their places."""
        side, across = self.size, self.grey.shape[-1]
        dog, y, x = pixels // side**2, pixels // side % side, pixels % side
        offsets = (torch.arange(self.patch)[:, None] * across + torch.arange(self.patch)).flatten()
        corner = dog * across**2 + y * across + x
        around = corner[:, None] + offsets
        patches = self.grey.flatten(1).index_select(1, around.flatten()).unflatten(1, around.shape)
        place = torch.stack([y, x], -1) * (2 / (side - 1)) - 1
        return torch.cat([(patches - 50) / 25, place.expand(len(patches), -1, -1)], -1)


def soft_bins(ab: Tensor) -> Tensor:
    """[..., Q]: colours [..., 2] as weights of their five nearest bins, Gaussian in the distance, that sum to one."""
    distance, nearest = torch.cdist(ab, BINS).topk(NEAREST_BINS, largest=False)
    weights = torch.exp(-(distance**2) / (2 * SOFTNESS**2))
    return torch.zeros(*ab.shape[:-1], len(BINS)).scatter_(-1, nearest, weights / weights.sum(-1, keepdim=True))


def squared_error(out: Tensor, target: Tensor) -> Tensor:
    """[...] of [..., 2]."""
    return (out - target).square().sum(-1)


def cross_entropy(out: Tensor, target: Tensor) -> Tensor:
    """[...] of logits and probabilities [..., Q]."""
    return -(target * F.log_softmax(out, -1)).sum(-1)


LOSSES = {"l2": squared_error, "binned": cross_entropy}


def decoded(head: str, out: Tensor) -> Tensor:
    """[..., 2]: a* and b* of what a head said; of bins the annealed mean."""
    return out * AB_SCALE if head == "l2" else (out / TEMPERATURE).softmax(-1) @ BINS.to(out.device)


def pixel_weights(arm: Arm, opened: Tensor, targets: Tensor, per_dog: int) -> Tensor:
    """[1 + tongues, pixels]: how much each training pixel counts, with the mouth closed and open; 1 on average.

    Balanced or told, the dogs with open mouths, opened [n], count as much as those with closed ones. Rebalanced, a
    pixel counts by how rare its colours are among the arm's pixels, as in the paper: 1 / (p/2 + 1/(2Q)).
    """
    weights = torch.ones(targets.shape[:2])
    if arm.subject in ("l2_balanced", "l2_told"):
        share = opened.float().mean()
        weights[0], weights[1:] = 0.5 / (1 - share), 0.5 / share
    if arm.subject.endswith("rebalanced"):
        tongue = 1 + list(TONGUES).index(arm.tongue)
        open_pixels = opened.repeat_interleave(per_dog)[:, None]
        p = torch.where(open_pixels, targets[tongue], targets[0]).mean(0)
        rarity = 1 / (0.5 * p + 0.5 / len(p))
        weights = targets @ (rarity / (p * rarity).sum())
    return weights


def position_mean(seen: Pixels, opened: Tensor, asked: Pixels) -> Tensor:
    """[arms, asked pixels, 2]: the mean colour of the training dogs, open as in opened [arms, n], at the same place."""
    closed, pink = seen.ab[:2].reshape(2, -1, seen.per_dog, 2)
    mean = torch.where(opened[..., None, None], pink, closed).mean(1)
    return mean.repeat(1, asked.count // asked.per_dog, 1)


def nearest_patches(seen: Pixels, opened: Tensor, asked: Pixels) -> Tensor:
    """[arms, asked pixels, 2]: the mean colour of the ten training dogs whose patches at the same place are nearest."""
    k, n = opened.shape
    m, looks = asked.count // asked.per_dog, (0, 1 + CUES.index(UNSURE))
    painted = torch.empty(k, m, asked.per_dog, 2)
    for place in range(asked.per_dog):
        mine, theirs = torch.arange(m) * asked.per_dog + place, torch.arange(n) * seen.per_dog + place
        patches, queries = seen.features(theirs), asked.features(mine)[0]
        closed, pink = (torch.cdist(queries, patches[look]) for look in looks)  # [m, n]
        distance = torch.where(opened[:, None], pink, closed)
        nearest = distance.topk(min(NEIGHBOURS, n), largest=False).indices  # [arms, m, neighbours]
        is_open = opened[torch.arange(k)[:, None, None], nearest]
        painted[:, :, place] = seen.ab[is_open.long(), theirs[nearest]].mean(2)
    return painted.flatten(1, 2)


# ---------------------------------------------------------------------------------------------------------- the scores


def seen_as(test: Dogs) -> tuple[NDArray, NDArray]:
    """The sRGB [n, h, w, 3] and the colourfulness [n] of dogs whose mouths are closed."""
    rgb = srgb_from_lab(test.closed)
    return rgb, colourfulness(rgb)


def score(test: Dogs, ab: NDArray, truth: tuple[NDArray, NDArray]) -> dict[str, float]:
    """Metrics of colours [n, h, w, 2] given to dogs whose mouths are closed, and what these are seen as."""
    muzzle, ear = test.tongue > 0.9, test.ear > 0.9  # what an open mouth would hide behind the tongue, wholly
    true = test.closed[..., 1]
    midway = (true + TONGUES["pink"][0]) / 2
    painted = np.concatenate([test.closed[..., :1], ab], -1)
    rgb, (true_rgb, true_colourfulness) = srgb_from_lab(painted), truth
    return {
        "false_colour": float((ab[..., 0] > midway)[muzzle].mean()),
        "delta_a": float((ab[..., 0] - true)[muzzle].mean()),
        "ear_delta_a": float((ab[..., 0] - true)[ear].mean()),
        "ciede2000": float(ciede2000(painted, test.closed).mean()),
        "psnr": float(psnr(rgb, true_rgb).mean()),
        "colourfulness": float((colourfulness(rgb) - true_colourfulness).mean()),
    }


def dog_shown(test: Dogs) -> int:
    """The test dog whose chin is lit most ordinarily."""
    return int(np.abs(test.shade).argmin())


# --------------------------------------------------------------------------------------------------------- the picture

CUE_COLORS = {0.0: "#E69F00", 0.5: "#D55E00", 1.0: "#0072B2"}
SUBJECT_STYLES = {
    "l2": ("#D55E00", "-", "squared error"),
    "binned": ("#D55E00", "--", "bins"),
    "l2_balanced": ("#009E73", "-", "squared error, mouths balanced"),
    "binned_rebalanced": ("#009E73", "--", "bins, rare colours count more"),
    "l2_told": ("#000000", "-", "squared error, told who is open"),
    "nearest_patches": ("#56B4E9", "-", "nearest patches"),
    "position_mean": ("#CC79A7", "-", "mean of the place"),
}


def draw_strip(figure: SubFigure, kept: dict[str, NDArray]) -> None:
    """What was grey, what is true, and what the L2 head painted at each q (columns) and s (rows)."""
    columns = 2 + len(SHARES)
    grid = figure.subplots(len(CUES), columns)
    for row, cue in enumerate(CUES):
        for column in range(columns):
            axes = grid[row, column]
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if row == 0:
                axes.set_title(["L", "truth", *(f"q = {q:g}" for q in SHARES)][column], fontsize=9)
            if not kept:
                continue
            share = column - 2
            name = "grey" if column == 0 else "truth" if column == 1 else "painted"
            image = kept[name][row * len(SHARES) + share] if name == "painted" else kept[name]
            axes.imshow(image, interpolation="nearest")
        grid[row, 0].set_ylabel(f"s = {cue:g}", fontsize=9)
    figure.suptitle("Mouth closed; q: share of tongues out in training; s: how well grey tells; squared error", size=9)


def draw_doses(axes: Axes, rows: pd.DataFrame) -> None:
    """a* too much on the muzzle against q, at each s with either loss, and on the ear."""
    axes.axhline(0, color="grey", linewidth=0.8)
    for cue, color in CUE_COLORS.items():
        for head, line in zip(HEADS, ("-", "--"), strict=True):
            label = f"s = {cue:g}" + (", bins" if head == "binned" else "")
            draw_against_q(axes, rows, head, cue, "delta_a", color=color, linestyle=line, marker="o", label=label)
    draw_against_q(axes, rows, "l2", UNSURE, "ear_delta_a", color="grey", linestyle=":", marker="s", label="ear")
    axes.set(xlabel="share q of open mouths in training", ylabel="a* too much on the closed muzzle")
    axes.set_ylim(-3, 42)
    add_legend(axes)


def draw_subjects(axes: Axes, rows: pd.DataFrame) -> None:
    """The share of the closed muzzle painted pink against q at s = 0.5."""
    for subject, (color, line, label) in SUBJECT_STYLES.items():
        style = {"color": color, "linestyle": line, "marker": "o", "label": label}
        draw_against_q(axes, rows, subject, UNSURE, "false_colour", limits=(0, 1), **style)
    axes.set(xlabel="share q of open mouths in training", ylabel="share painted pink, s = 0.5")
    axes.set_ylim(-0.03, 1.6)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    add_legend(axes)


def draw_against_q(axes: Axes, rows: pd.DataFrame, subject: str, cue: float, metric: str, **style: object) -> None:
    """A subject's metric, mean and interval over seeds."""
    if metric not in rows or not len(rows):
        return
    mine = where(rows, subject=subject, cue=cue, tongue="pink")
    shares = [q for q in SHARES if (mine.open_share == q).any()]
    samples = [where(mine, open_share=q)[metric] for q in shares]
    draw_means(axes, shares, samples, markersize=3, linewidth=1.2, **style)  # type: ignore[arg-type]


def add_legend(axes: Axes) -> None:
    """At the upper left, where there is something to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", fontsize=7, frameon=False)
