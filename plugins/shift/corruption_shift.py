"""A network is as good as its images are clean: noise, blur and weather take what it seemed to know.

Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019,
arXiv:1903.12261. Networks are trained on clean images and tested on images that are spoilt in sixteen ways at five
severities (:mod:`dlbench.corruptions`). All that was spoilt is the same for every model of a seed.

An audit, too: a model that a user brings is measured beside the references, which the claims are about. It is an import
path ``package.module:factory``; the factory takes no arguments and returns a ``torch.nn.Module`` that maps images in
[0, 1] to logits::

    dlbench run corruption_shift --set corruption_shift.models=mypackage.nets:build,mlp,cnn

References are a perceptron and a small convolutional network, and of both: trained with Gaussian noise in half of every
batch (``_noise``); trained with six of the kinds in half of every batch (``_augmented``), which says nothing new about
those six, so that ten others of the same families are *held out* and judged; and the mean prediction of five networks
(``_ensemble``). All have the same number of updates of as many images, and nothing is tuned.

Errors are summed up as in the paper: mCE, the mean over kinds of a model's errors at all severities over those of a
baseline (AlexNet there, ``baseline`` here), and relative mCE, the same of what corruption adds to the clean error.
Confidence and its calibration (ECE) stand beside accuracy, as a model that knew what it cannot read would do no harm.
Claims were written before anything was looked at; there, "falls" is a least-squares slope over the severities.
Version 2 takes 250 updates in ``quick`` for 350, after which clean images are known as well (0.976 on seeds 100 to
105).

``full`` takes MNIST, ``cifar10`` CIFAR-10 with the files of CIFAR-10-C in the data folder, in place of what is spoilt
here. Not covered: adversarially trained networks (they can be brought), and, but for those files, frost and glass blur.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    Reference,
    above,
    attacks,
    below,
    between,
    contains,
    every,
    one_of,
    per_seed,
    slope,
    where,
)
from dlbench.brought import brought, check_names
from dlbench.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from dlbench.data import cifar
from dlbench.errors import ParameterError
from dlbench.stacking import Stack, rows_of
from dlbench_plugins.images import CLASSES, Images, cifar10_c, images, rows_held_out
from dlbench_plugins.networks import network, train
from dlbench_plugins.shift.spoilt import ALL_NOISE, CLEAN, EIGHT_BITS, draw_map, judged, spoil

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

NETWORKS = ("mlp", "cnn")
NOISE, AUGMENTED, ENSEMBLE = "_noise", "_augmented", "_ensemble"
REFERENCES = tuple(map("".join, product(NETWORKS, ("", NOISE, AUGMENTED, ENSEMBLE))))
TRAINED_ON = {  # by ending; drawn anew for each batch, with a severity
    NOISE: ("gaussian_noise",),
    AUGMENTED: ("impulse_noise", "motion_blur", "snow", "contrast", "elastic", "translate"),
}
UNSEEN_NOISE = ("shot_noise", "impulse_noise")
NOISE_AND_BLUR = ("glass_blur", *(kind for kind, c in CORRUPTIONS.items() if c.family in ("noise", "blur")))

KINDS = {  # by who made the spoilt images; what both make goes by one name
    "here": tuple(CORRUPTIONS),
    "cifar10_c": tuple(kind.removesuffix("_transform").removesuffix("_compression") for kind in cifar.KINDS),
}
CHANCE = 1 / CLASSES
KNOWS = {"digits": 0.9, "digits_split": 0.9, "mnist": 0.9, "cifar10": 0.5}  # accuracy on clean images
EXAMPLES, SHOWN_AT = 3, 3  # images of each kind in the picture, and their severity
AT_ONCE = 500  # images a forward pass

Predict = Callable[[Tensor], NDArray[np.float64]]  # images [n, c, h, w] → probabilities [n, CLASSES]


def robustbench(subject: str, accuracy: float, note: str) -> Reference:
    """A row of RobustBench's leaderboard of common corruptions on CIFAR-10, over the fifteen kinds of CIFAR-10-C."""
    setting = {"subject": subject, "data": "cifar10", "kind": "cifar10_c"}
    return Reference("mean_accuracy", accuracy, "RobustBench, CIFAR-10-C", setting, note=note)


def imagenet_c(subject: str, mce: float, note: str) -> Reference:
    """A row of the table that the authors of ImageNet-C keep; 224 pixels, fifteen kinds, AlexNet as the baseline."""
    setting = {"subject": subject, "data": "imagenet", "kind": "imagenet_c", "baseline": "alexnet"}
    return Reference("mce", mce, "github.com/hendrycks/robustness", setting, note=note)


# ------------------------------------------------------------------------------------------------- rows that rules see


def kinds_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """The kinds of corruption that there should be: those of CIFAR-10-C where there is a summary of its files."""
    return KINDS["cifar10_c" if (rows.kind == "cifar10_c").any() else "here"]


def held_out(kinds: Sequence[str]) -> list[str]:
    """Those that no network was trained with."""
    return [kind for kind in kinds if kind not in TRAINED_ON[AUGMENTED]]


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of networks that are trained on clean images alone."""
    return rows[rows.subject.isin(NETWORKS)]


def corrupted(rows: pd.DataFrame, severity: int | None = None) -> pd.DataFrame:
    """The rows of the kinds of corruption, at every severity or one."""
    rows = rows[rows.kind.isin(kinds_of(rows))]
    return rows if severity is None else rows[rows.severity == severity]


def over_kinds(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric by seed and severity, the mean over the kinds; of one subject."""
    rows = corrupted(rows)
    return rows.groupby([rows.index, "severity"])[metric].mean().reset_index("severity")


def lost(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Of one subject: the metric on clean images less that at severity 5, the mean over kinds, one a seed."""
    worst = per_seed(corrupted(rows, max(SEVERITIES)), lambda group: group[metric].mean())
    return where(rows, kind=CLEAN)[metric] - worst


def by_network(rows: pd.DataFrame, ending: str, rule: Callable[[str, str], Verdict]) -> Verdict:
    """The rule (plain network, its variant) for every network that has a variant of this ending."""
    variants = rows[rows.subject.isin([name + ending for name in NETWORKS if name in set(rows.subject)])]

    def of(r: pd.DataFrame) -> Verdict:
        variant = r.subject.iloc[0]
        return rule(variant.removesuffix(ending), variant)

    return every(variants, "subject", of)


def relative_error(rows: pd.DataFrame, subject: str, baseline: str, kinds: Sequence[str]) -> pd.Series:
    """The mCE of a subject on some kinds, against a baseline, one a seed."""

    def of(group: pd.DataFrame) -> float:
        tables = [table(where(group, subject=name), kinds) for name in (subject, baseline)]
        return math.nan if any(t is None for t in tables) else mean_corruption_error(*tables)  # type: ignore[arg-type]

    return per_seed(rows, of)


def table(rows: pd.DataFrame, kinds: Sequence[str]) -> NDArray[np.float64] | None:
    """Errors [kinds, severities] of one subject and seed, or None where one of them is missing or is no share."""
    errors = 1 - rows.pivot_table("accuracy", "kind", "severity").reindex(index=kinds, columns=SEVERITIES)
    return errors.to_numpy() if ((errors >= 0) & (errors <= 1)).all(axis=None) else None


def unseen_noise(rows: pd.DataFrame, a: str, b: str) -> pd.Series:
    """By how much one subject is right more often than another under noise that neither saw, one a seed."""
    noisy = rows[rows.kind.isin(UNSEEN_NOISE)]
    means = [per_seed(where(noisy, subject=name), lambda group: group.accuracy.mean()) for name in (a, b)]
    return (means[0] - means[1]).dropna()


def keeps_its_accuracy(rows: pd.DataFrame) -> Verdict:
    """Of every reference: 8 bits cost half a point at most."""

    def keeps(r: pd.DataFrame) -> Verdict:
        grey = per_seed(where(r, kind=EIGHT_BITS), lambda group: group.accuracy.mean())
        return below((where(r, kind=CLEAN).accuracy - grey).abs(), 0.005)

    return every(rows[rows.subject.isin(REFERENCES)], "subject", keeps)


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class CorruptionShift(Experiment):
    models: tuple[str, ...] = tuple(name for name in REFERENCES if name != "cnn_ensemble")
    baseline: str = "mlp"
    dataset: str = one_of("digits", "digits_split", "mnist", "cifar10", default="digits")
    spoilt: str = one_of(*KINDS, default="here")  # by whom
    tested: int = between(10, 10_000, default=400)  # held-out images
    width: int = between(8, 4096, default=64)
    members: int = between(2, 100, default=5)
    steps: int = between(1, 10**6, default=250)
    batch_size: int = between(2, 4096, default=32)
    learning_rate: float = between(1e-6, 1.0, default=3e-3)

    title = "What a network knows of clean images it does not know of spoilt ones"
    chapter = "shift"
    version = 2
    sources = (
        "Hendrycks & Dietterich, Benchmarking neural network robustness to common corruptions, ICLR 2019, "
        "arXiv:1903.12261",
        "Mu & Gilmer, MNIST-C, 2019, arXiv:1906.02337",
        "Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, arXiv:1808.08750",
        "Rusak et al., A simple way to make neural networks robust against diverse image corruptions, ECCV 2020",
        "Ovadia et al., Can you trust your model's uncertainty?, NeurIPS 2019, arXiv:1906.02530",
    )
    metrics = {
        "accuracy": Metric("accuracy", better="higher", low=0, high=1),
        "confidence": Metric("mean probability of the likeliest class", low=0, high=1 + 1e-6),
        "ece": Metric("expected calibration error, 15 bins", better="lower", low=0, high=1),
        "mce": Metric("mCE against the baseline", "1", "lower", main=True, low=0),
        "relative_mce": Metric("relative mCE against the baseline", "1", "lower"),
        "mce_held_out": Metric("mCE on the kinds that no reference is augmented with", "1", "lower", low=0),
        "mean_accuracy": Metric("accuracy over all kinds and severities", better="higher", low=0, high=1),
        "relative_robustness": Metric("the same over clean accuracy", "1", "higher", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "dataset": "mnist",
            "tested": 2000,
            "width": 256,
            "steps": 3000,
            "batch_size": 64,
            "learning_rate": 1e-3,
        },
        "mnist": {"dataset": "mnist", "tested": 1000, "width": 128, "steps": 1500},
        "cifar10": {
            "dataset": "cifar10",
            "spoilt": "cifar10_c",
            "models": ("cnn", "cnn_noise", "cnn_augmented", "cnn_ensemble"),
            "baseline": "cnn",
            "tested": 10_000,
            "width": 256,
            "steps": 12_000,
            "batch_size": 128,
            "learning_rate": 1e-3,
        },
    }
    references = (
        robustbench("standard", 0.7346, "WRN-28-10 trained as usual, 94.78 % on clean images"),
        robustbench("best_listed", 0.9278, "the first of the leaderboard"),
        imagenet_c("resnet50", 0.767, "trained as usual"),
        imagenet_c("best_listed", 0.536, "the first of the table; a ResNet-50"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.models, REFERENCES)
        if len(set(self.models)) < len(self.models):
            raise ParameterError(f"models is {self.models}; name none twice")
        if self.spoilt == "cifar10_c" and self.dataset != "cifar10":
            raise ParameterError(f"spoilt: CIFAR-10-C's files show cifar10; dataset is {self.dataset!r}")
        if self.baseline not in self.models:
            raise ParameterError(f"baseline is {self.baseline!r}; expected one of models {self.models}")

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset, *([self.spoilt] if self.spoilt == "cifar10_c" else []))

    def brings(self) -> list[str]:
        return [name for name in self.models if name not in REFERENCES]

    def trial(self, context: Context) -> Iterator[Measurement]:
        training, (x, y) = images(self.dataset, self.tested, context)
        shape = x.shape[1:]
        foreign = {name: brought(name, shape, CLASSES, context) for name in self.brings()}
        predict = {name: of_members([net]) for name, net in foreign.items()}
        for name in NETWORKS:
            context.progress(0.1 + 0.2 * NETWORKS.index(name), f"training {name}")
            predict |= self.fit(name, training, context)

        conditions = list(product(KINDS[self.spoilt], SEVERITIES))
        others = [(CLEAN, 0), *product([EIGHT_BITS], SEVERITIES), (ALL_NOISE, max(SEVERITIES))]
        found = []
        for done, (kind, severity) in enumerate([*others, *conditions]):
            context.progress(0.5 + 0.5 * done / len(conditions), f"{kind} at {severity}")
            seen = self.seen(x, y, kind, severity, context)
            condition = {"data": self.dataset, "kind": kind, "severity": severity}
            rows = [{"subject": name, **condition, **judged(predict[name](seen), y)} for name in self.models]
            found += rows
            yield from rows
        yield from self.summed_up(pd.DataFrame(found))
        spoilt = [self.seen(x, y, kind, SHOWN_AT, context)[:EXAMPLES] for kind in KINDS[self.spoilt]]
        context.keep("examples", torch.stack(spoilt))

    def seen(self, x: Tensor, y: Tensor, kind: str, severity: int, context: Context) -> Tensor:
        """Test images as a kind leaves them: made here, or by the authors of CIFAR-10-C."""
        if self.spoilt == "cifar10_c" and kind in KINDS["cifar10_c"]:
            rows = rows_held_out(cifar.TEST, self.tested, context)
            return cifar10_c(cifar.KINDS[KINDS["cifar10_c"].index(kind)], severity, rows, y, context)
        return spoil(x, kind, severity, context.generator("test", kind))

    # ------------------------------------------------------------------------------------------------------- training

    def fit(self, name: str, training: Images, context: Context) -> dict[str, Predict]:
        """What is named of a network and its variants, trained at once, from the same weights on the same images."""
        x, y = training
        ensemble = name + ENSEMBLE in self.models
        variants = [ending for ending in ("", *TRAINED_ON) if name + ending in self.models or (ensemble and not ending)]
        if not variants:
            return {}
        members = self.members if ensemble else 1
        arms = [Arm(ending, member) for ending in variants for member in range(1 if ending else members)]
        nets = []
        for arm in arms:
            with context.seeded("init", name, arm.member):
                nets.append(network(name, x.shape[1:], CLASSES, width=self.width))
        stack = Stack(nets).to(context.device)
        spoilers = {k: context.generator("augmentation", name, arm.ending) for k, arm in enumerate(arms) if arm.ending}

        def losses(rows: Tensor) -> Tensor:
            rows = rows.to(x.device)
            batch = rows_of(x, rows)
            for k, generator in spoilers.items():
                batch[k, : self.batch_size // 2] = augmented(
                    batch[k, : self.batch_size // 2], arms[k].ending, generator
                )
            return stack.losses(F.cross_entropy, stack.each(batch), y[rows])

        train(
            stack,
            [len(x)] * len(arms),
            [context.generator("order", name, arm.member) for arm in arms],
            losses,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        predict = {name + arm.ending: of_members([stack[k]]) for k, arm in enumerate(arms) if arm.member == 0}
        plain_ones = [stack[k] for k, arm in enumerate(arms) if not arm.ending]
        return predict | ({name + ENSEMBLE: of_members(plain_ones)} if ensemble else {})

    # -------------------------------------------------------------------------------------------------------- summing

    def summed_up(self, rows: pd.DataFrame) -> Iterator[Measurement]:
        """One row a model, of all kinds and severities."""
        kinds = KINDS[self.spoilt]
        rows = rows[rows.kind.isin((CLEAN, *kinds))]
        errors = {name: table(where(rows, subject=name), kinds) for name in self.models}
        clean = {name: 1 - where(rows, subject=name, kind=CLEAN).accuracy.item() for name in self.models}
        untrained = [kinds.index(kind) for kind in held_out(kinds)]
        base, base_clean = errors[self.baseline], clean[self.baseline]
        for name, mine in errors.items():
            right = 1 - float(mine.mean())
            yield {
                "subject": name,
                "data": self.dataset,
                "kind": "all" if self.spoilt == "here" else self.spoilt,
                "mce": mean_corruption_error(mine, base),
                "relative_mce": relative_mean_corruption_error(mine, clean[name], base, base_clean),
                "mce_held_out": mean_corruption_error(mine[untrained], base[untrained]),
                "mean_accuracy": right,
                **({"relative_robustness": right / (1 - clean[name])} if clean[name] < 1 else {}),
            }

    claims = [
        Claim(
            "(a) accuracy falls with severity on every kind of noise and of blur",
            lambda rows: every(
                plain(rows)[plain(rows).kind.isin(NOISE_AND_BLUR)],
                ["subject", "kind"],
                lambda r: below(slope(r, "severity", "accuracy"), 0.0),
            ),
        ),
        Claim(
            "(a) over all kinds, accuracy at severity 5 is more than 10 points below that on clean images",
            lambda rows: every(plain(rows), "subject", lambda r: above(lost(r, "accuracy"), 0.1)),
        ),
        Claim(
            "(b) training with Gaussian noise helps against shot and impulse noise, too",
            lambda rows: by_network(rows, NOISE, lambda a, b: above(unseen_noise(rows, b, a), 0.0)),
            source="Rusak et al. 2020; Geirhos et al. 2018 found that it does not",
        ),
        Claim(
            "(c) training with six kinds lowers the mCE on ten others below 0.9 of that of the same network without",
            lambda rows: by_network(
                rows, AUGMENTED, lambda a, b: below(relative_error(rows, b, a, held_out(kinds_of(rows))), 0.9)
            ),
        ),
        Claim(
            "(d) an ensemble's mCE is below that of one of its members",
            lambda rows: by_network(
                rows, ENSEMBLE, lambda a, b: below(relative_error(rows, b, a, kinds_of(rows)), 1.0)
            ),
        ),
        Claim(
            "(e) confidence falls less than accuracy: of what is lost at severity 5 it misses a part",
            lambda rows: every(
                plain(rows), "subject", lambda r: above(lost(r, "accuracy") - lost(r, "confidence"), 0.0)
            ),
            source="Ovadia et al. 2019",
        ),
        Claim(
            "(e) and calibration gets worse: the mean ECE over kinds rises with severity",
            lambda rows: every(
                plain(rows), "subject", lambda r: above(slope(over_kinds(r, "ece"), "severity", "ece"), 0.0)
            ),
            source="Ovadia et al. 2019",
        ),
        Control(
            "rounding to 8 bits, up to five steps of grey off, costs less than half a point of accuracy",
            keeps_its_accuracy,
            kind="negative",
        ),
        Control(
            "noise of twenty times black to white in all pixels leaves chance",
            lambda rows: every(
                where(rows[rows.subject.isin(REFERENCES)], kind=ALL_NOISE),
                "subject",
                lambda r: contains(r.accuracy, CHANCE, margin=0.05),
            ),
            kind="positive",
        ),
        Control(
            "the references know clean images: accuracy above 0.9 (CIFAR-10: 0.5)",
            lambda rows: every(
                where(rows[rows.subject.isin(REFERENCES)], kind=CLEAN),
                ["data", "subject"],
                lambda r: above(r.accuracy, KNOWS[r["data"].iloc[0]]),
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """The kinds at severity 3, and beside them each model's accuracy by kind and severity."""
        figure.set_size_inches(2.4 + 1.45 * len(self.models), 7.2)
        strip, *maps = figure.subplots(1, 1 + len(self.models), width_ratios=(0.95, *[1] * len(self.models)))
        draw_examples(strip, artefacts, KINDS[self.spoilt])
        for axes, name in zip(maps, self.models, strict=True):
            draw_map(axes, rows, name, KINDS[self.spoilt], trained_on=trained_on(name))
        figure.supxlabel("numbers: accuracy in per cent; framed: kinds that the model was trained with", fontsize=8)
        figure.tight_layout(w_pad=0.4)


# ---------------------------------------------------------------------------------------------------- what is trained


class Arm(NamedTuple):
    """A network that is trained: on what beside clean images, and the number of its initial weights."""

    ending: str
    member: int


def trained_on(name: str) -> tuple[str, ...]:
    """The kinds that a reference is trained with, beside clean images."""
    return next((of for ending, of in TRAINED_ON.items() if name in REFERENCES and name.endswith(ending)), ())


def augmented(x: Tensor, ending: str, generator: torch.Generator) -> Tensor:
    """Images spoilt by one of the kinds that a variant is trained on, at a severity, both drawn."""
    kinds = TRAINED_ON[ending]
    kind, severity = (int(torch.randint(len(of), (), generator=generator)) for of in (kinds, SEVERITIES))
    return corrupt(x, kinds[kind], SEVERITIES[severity], generator=generator)


def of_members(nets: Sequence[nn.Module]) -> Predict:
    """The mean of the networks' probabilities; of one network, its own."""

    @torch.no_grad()
    def predict(x: Tensor) -> NDArray[np.float64]:
        total = torch.zeros(len(x), CLASSES, dtype=torch.float64)
        for net in nets:
            with attacks.attack_mode(net):
                total += torch.cat([net(part).double().softmax(1).cpu() for part in x.split(AT_ONCE)])
        return (total / len(nets)).numpy()

    return predict


# ----------------------------------------------------------------------------------------------------------- picture


def draw_examples(axes: Axes, artefacts: Artefacts, kinds: Sequence[str]) -> None:
    """A row of images for each kind, of the first seed."""
    axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds], fontsize=8)
    axes.set_xticks([])
    axes.set_xlim(-0.5, EXAMPLES - 0.5)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.set_xlabel(f"images at severity {SHOWN_AT}", fontsize=8)
    axes.set_ylabel("kind of corruption", fontsize=8)
    axes.set_title("test images", fontsize=9)
    kept = next((arrays["examples"] for _, arrays in sorted(artefacts.items()) if "examples" in arrays), None)
    for row, column in product(range(len(kinds)), range(EXAMPLES)) if kept is not None else ():
        image = np.moveaxis(kept[row, column], 0, -1)
        place = (column - 0.47, column + 0.47, row + 0.47, row - 0.47)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=place, aspect="auto", interpolation="nearest")
    axes.set_xlim(-0.5, EXAMPLES - 0.5)  # as images set their own
    axes.set_ylim(len(kinds) - 0.5, -0.5)
