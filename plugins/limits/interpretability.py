"""Explanations of a network's answers are no account of them that one could rely on.

That networks are black boxes is a statement about people. Measured here is a proxy of it: whether the usual
explanations (:mod:`dlbench.explain`) point at what decides, depend on what was learnt, and agree with each other.

In the pictures (:mod:`dlbench_plugins.limits.shapes`) one of four signs decides, a distractor as bright does not, and
where both are is known. Read are a small network, *cnn*; a *linear* model, whose contributions, weight times pixel, are
all there is to know of it; and a *tree* of eight levels, where each turn of the path that a picture takes changes what
is answered. All three are trained on the same pictures, none is tuned, and each explains its own answers to the same
test pictures, which the first two get right. *ideal linear* has the signs themselves for weights.

Subjects are the ways to explain. Those that say how sensitive the network is (gradient, SmoothGrad, guided
backpropagation) are taken by their size, those that say what each pixel contributes with their sign. Maps of random
numbers and of edges, which know no network, stand beside them. ``over`` says what a row is about:

- *sign*: the share of the nine most relevant pixels that are the sign's, of positive relevance on it, and how often the
  most relevant pixel is; and how many of the nine are the distractor's. *place*: the same for the square around the
  sign, whose dark pixels tell signs apart, too;
- *faithfulness*: what the network loses when relevant pixels are set to 0 (pixel flipping) or filled in from around
  them (ROAD), which shows it pictures unlike any that it has seen; how badly attributions, of sensitivities times
  input, foretell what covering a tenth of all pixels does to the score (infidelity); and how far they move with a
  little noise (largest sensitivity);
- *randomised*: the rank correlation with the explanation of a network of which ``layers`` layers, from the last on, are
  drawn anew (Adebayo et al., NeurIPS 2018), and the same of sizes without signs; a blank map counts 0;
- *agreement*: what two methods share of the most relevant tenth of pixels.

How much of a size is left under random weights hangs on the input that it is multiplied with: digits, whose black
pixels are 0 in all networks, leave more than signs in noise do. So the verdict on that is one on these pictures.

An audit, too: a model that a user brings is measured on digits, MNIST or CIFAR-10 in all that needs no known sign::

    dlbench run interpretability --set interpretability.dataset=digits --set interpretability.models=my.nets:build,cnn

It is the import path of a function that returns a ``torch.nn.Module`` from images in [0, 1] to logits. Guided
backpropagation needs ``nn.ReLU`` modules and Grad-CAM an ``nn.Conv2d``; of models without them they are left out.

Not covered: photographs with masks (CLEVR-XAI, ImageNet-S), graphs, prototype networks and additive models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
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
    above,
    all_of,
    below,
    between,
    contains,
    every,
    one_of,
    per_seed,
    where,
)
from dlbench import explain as e
from dlbench.brought import brought, check_names
from dlbench.errors import ParameterError
from dlbench.stacking import Stack
from dlbench_plugins.images import CLASSES, divided
from dlbench_plugins.limits.shapes import SIGNS, Shapes, ideal_weights, shapes
from dlbench_plugins.networks import logistic_regression, train

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

Method = Callable[[nn.Module, Tensor, Tensor, Context], Tensor]  # network, images, classes → attributions
METHODS: dict[str, Method] = {
    "gradient": lambda net, x, y, _: e.gradient(net, x, y),
    "SmoothGrad": lambda net, x, y, context: e.smoothgrad(net, x, y, generator=context.generator("smoothgrad")),
    "guided backpropagation": lambda net, x, y, _: e.guided_backpropagation(net, x, y),
    "gradient x input": lambda net, x, y, _: e.gradient_times_input(net, x, y),
    "integrated gradients": lambda net, x, y, _: e.integrated_gradients(net, x, y, steps=16),
    "occlusion": lambda net, x, y, _: e.occlusion(net, x, y, window=3, stride=2),
    "Grad-CAM": lambda net, x, y, _: e.grad_cam(net, x, y),
}
SENSITIVITIES = ("gradient", "SmoothGrad", "guided backpropagation")  # of which the size counts
NEEDS = {"guided backpropagation": nn.ReLU, "Grad-CAM": nn.Conv2d}
RANDOM, EDGES = "random", "edges"
CNN, LINEAR, IDEAL, TREE = "cnn", "linear", "ideal linear", "tree"

KNOWS = {  # test accuracy that there must be
    "shapes": {CNN: 0.95, LINEAR: 0.9},
    "digits": {CNN: 0.9, LINEAR: 0.85},
    "mnist": {CNN: 0.9, LINEAR: 0.8},
    "cifar10": {CNN: 0.5, LINEAR: 0.25},
}
WORSE = 0.1  # in rank accuracy than the linear model's contributions
KEPT = 0.5  # of the rank correlation, after all layers are drawn anew
SHARED = 0.5  # of the most relevant pixels, by two methods
TOP = 0.1  # of a map are its most relevant pixels
COVERED = 0.5  # of all pixels at the end of pixel flipping
RIDGE, LEVELS = 10.0, 8
MOVED = 10  # pictures that sensitivity is taken on


def of_cnn(rows: pd.DataFrame, over: str, **settings: str | int | bool) -> pd.DataFrame:
    """The rows about our own network."""
    return where(rows, model=CNN, over=over, **settings)


def best_minus_linear(rows: pd.DataFrame) -> pd.Series:
    """Rank accuracy of the method that is best in each seed, less that of the linear model's contributions."""
    ours = of_cnn(rows, "sign")
    best = per_seed(ours[ours.subject.isin(METHODS)], lambda r: r.rank_accuracy.max())
    return (best - where(rows, model=LINEAR, over="sign").rank_accuracy).dropna()


def kept(rows: pd.DataFrame, subject: str, metric: str = "spearman") -> pd.Series:
    """Size of the rank correlation with the explanation of a wholly random network, one a seed."""
    rows = of_cnn(rows, "randomised", subject=subject)
    return rows[rows.layers == rows.layers.max()][metric].abs()


def random_maps(rows: pd.DataFrame) -> Verdict:
    """They know nothing: of each other, and where masks are known, of them."""
    drawn = of_cnn(rows, "randomised", subject=RANDOM)
    again = [contains(drawn[drawn.layers == drawn.layers.max()].spearman, 0.0, margin=0.05)]
    located = [
        contains(found.rank_accuracy - found.chance, 0.0, margin=0.02)
        for found in (of_cnn(rows, over, subject=RANDOM) for over in ("sign", "place"))
        if len(found)
    ]
    return all_of(*again, *located)


def can_be_found(rows: pd.DataFrame) -> Verdict:
    """Edges stay as they are, and the linear model's contributions lie on the sign, where it is known."""
    linear = where(rows, model=LINEAR, over="sign")
    return all_of(above(kept(rows, EDGES), 0.99), *([above(linear.rank_accuracy, 0.5)] if len(linear) else []))


def knows(rows: pd.DataFrame) -> Verdict:
    """Those that are read have learnt their data set."""
    rows = where(rows, over="test")
    return every(
        rows[rows.subject.isin((CNN, LINEAR))],
        ["data", "subject"],
        lambda r: above(r.accuracy, KNOWS[r["data"].iloc[0]][r.subject.iloc[0]]),
    )


def ignores_the_distractor(rows: pd.DataFrame) -> Verdict:
    """What is known to decide is what decides: nothing changes where nothing else is."""
    found = rows[(rows.over == "test") & rows.answers_kept.notna() & rows.subject.isin((CNN, LINEAR))]
    if not len(found):  # other data have no distractor
        return knows(rows)
    return every(found, "subject", lambda r: above(r.answers_kept, 0.95))


@dataclass(frozen=True)
class Interpretability(Experiment):
    """Where explanations point, what they depend on, and how far they agree, on pictures whose cause is known."""

    models: tuple[str, ...] = (CNN,)
    dataset: str = one_of(*KNOWS, default="shapes")
    cells: int = between(2, 8, default=2)  # of 8 pixels, a side of the pictures
    noise: float = between(0.0, 10.0, default=0.3)  # a sign's brightness is 1
    train_size: int = between(10, 60_000, default=2000)
    test_size: int = between(10, 10_000, default=500)
    judged: int = between(2, 10_000, default=40)  # test pictures that are explained
    randomisations: int = between(1, 1000, default=4)  # networks with ever more random layers, all of them at last
    draws: int = between(2, 1000, default=24)  # of pixels to cover, for infidelity
    width: int = between(4, 1024, default=16)
    steps: int = between(1, 10**6, default=120)
    batch_size: int = between(2, 4096, default=64)
    learning_rate: float = between(1e-6, 1.0, default=5e-3)

    title = "Explanations of a network's answers cannot be relied on"
    chapter = "limits"
    sources = (
        "Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, arXiv:1810.03292",
        "Arras et al., CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural network explanations, "
        "Information Fusion 2022, arXiv:2003.07258",
        "Hedström et al., Quantus: an explainable AI toolkit for responsible evaluation, JMLR 2023, arXiv:2202.06861",
        "Rong et al., A consistent and efficient evaluation strategy for attribution methods, ICML 2022, "
        "arXiv:2202.00449",
        "Yeh et al., On the (in)fidelity and sensitivity of explanations, NeurIPS 2019, arXiv:1901.09392",
    )
    metrics = {
        "rank_accuracy": Metric("relevance rank accuracy", "1", "higher", True, 0, 1),
        "mass_accuracy": Metric("relevance mass accuracy", "1", "higher", low=0, high=1 + 1e-9),
        "pointing": Metric("how often the most relevant pixel is within", "1", "higher", low=0, high=1),
        "on_distractor": Metric("share of as many most relevant pixels on the distractor", "1", "lower", low=0, high=1),
        "chance": Metric("share of all pixels that are within", low=0, high=1),
        "pixel_flipping": Metric("mean probability as relevant pixels are set to 0", "1", "lower", low=0, high=1),
        "road": Metric("accuracy as relevant pixels are filled in", "1", "lower", low=0, high=1),
        "infidelity": Metric("infidelity, of the score", better="lower", low=0),
        "max_sensitivity": Metric("largest relative move of the explanation", "1", "lower", low=0),
        "spearman": Metric("rank correlation with the explanation of a random network", low=-1, high=1),
        "spearman_of_sizes": Metric("the same of the sizes of what is attributed", low=-1, high=1),
        "agreement": Metric("shared part of the most relevant tenth of pixels", low=0, high=1),
        "accuracy": Metric("test accuracy", better="higher", low=0, high=1),
        "answers_kept": Metric("share of answers that stay without the distractor", "1", "higher", low=0, high=1),
    }
    presets = {
        "quick": {},
        "full": {
            "train_size": 20_000,
            "test_size": 2000,
            "judged": 300,
            "draws": 100,
            "width": 32,
            "steps": 3000,
            "learning_rate": 1e-3,
        },
        "mnist": {"dataset": "mnist", "train_size": 6000, "test_size": 1000, "width": 32, "steps": 1000},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.models, [CNN])
        if not self.models or len(set(self.models)) < len(self.models):
            raise ParameterError(f"models is {self.models}; name at least one, and none twice")

    def brings(self) -> list[str]:
        return [name for name in self.models if name != CNN]

    def datasets(self) -> tuple[str, ...]:
        return () if self.dataset == "shapes" else (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        task = self.split(context)
        linear = nn.Sequential(
            nn.Flatten(), logistic_regression(task.x.flatten(1), task.y, task.classes, iterations=100, ridge=RIDGE)
        )
        tree = Tree(task, context.integer("tree"))
        cnn = self.trained(task, context)
        nets = {
            name: cnn if name == CNN else brought(name, task.x.shape[1:], task.classes, context) for name in self.models
        }
        right = torch.ones_like(task.test_y, dtype=torch.bool)
        for name, predict in {**nets, CNN: cnn, LINEAR: linear, TREE: tree}.items():
            answers = answered(predict, task.test_x)
            row = {"accuracy": float((answers == task.test_y).double().mean())}
            if task.truth is not None:
                undistracted = as_images(task.truth.without(task.truth.distractor), context)
                row["answers_kept"] = float((answers == answered(predict, undistracted)).double().mean())
            if name in (CNN, LINEAR):
                right &= answers == task.test_y
            yield {"subject": name, "model": name, "data": self.dataset, "over": "test", **row}

        chosen = torch.argsort(~right, stable=True)[: self.judged].cpu()  # wrong ones only if there are too few
        x = task.test_x[chosen.to(task.test_x.device)]
        truth = None if task.truth is None else task.truth.only(chosen.numpy())
        if truth is not None:
            ideal = as_images(ideal_weights(self.cells), context)[answered(cnn, x)]
            linear_maps = e.gradient_times_input(linear, x, answered(linear, x)).sum(1)
            for name, maps in {LINEAR: linear_maps, IDEAL: (ideal * x).sum(1), TREE: tree.read(x)}.items():
                yield from located(maps, truth, {"subject": name, "model": name, "data": self.dataset})
        for done, (name, net) in enumerate(nets.items()):
            context.progress(0.4 + 0.6 * done / len(nets), f"explanations of {name}")
            yield from self.explained(name, net, x, truth, context)

    def split(self, context: Context) -> Task:
        """What is learnt from and tested on."""
        if self.dataset == "shapes":
            parts = [
                shapes(n, context.rng(part), cells=self.cells, noise=self.noise)
                for part, n in (("train", self.train_size), ("test", self.test_size))
            ]
            arrays = [(as_images(part.x, context), torch.from_numpy(part.y).to(context.device)) for part in parts]
            return Task(*arrays[0], *arrays[1], len(SIGNS), parts[1])
        (x, y), (test_x, test_y) = divided(self.dataset, [self.train_size], context)
        given = (x, y, test_x[: self.test_size], test_y[: self.test_size])
        return Task(*(torch.from_numpy(part).to(context.device) for part in given), CLASSES, None)

    def trained(self, task: Task, context: Context) -> nn.Module:
        """The network that is to be explained."""
        with context.seeded("init"):
            stack = Stack([network(task.x.shape[1:], task.classes, self.width)]).to(context.device)

        def losses(rows: Tensor) -> Tensor:
            rows = rows.to(task.x.device)
            return stack.losses(F.cross_entropy, stack.each(task.x[rows]), task.y[rows])

        train(
            stack,
            [len(task.x)],
            [context.generator("order")],
            losses,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        return stack[0].eval()

    def explained(
        self, name: str, net: nn.Module, x: Tensor, truth: Shapes | None, context: Context
    ) -> Iterator[Measurement]:
        """All explanations of a network's own answers, and what they are worth."""
        common = {"model": name, "data": self.dataset}
        y = answered(net, x)
        methods = {
            method: explain
            for method, explain in METHODS.items()
            if any(isinstance(module, NEEDS.get(method, nn.Module)) for module in net.modules())
        }
        attributions = {method: explain(net, x, y, context) for method, explain in methods.items()}
        maps = {method: relevance(method, found) for method, found in attributions.items()}
        maps |= {RANDOM: noise_maps(x, context, name, 0), EDGES: e.edges(x).sum(1)}

        for method, found in maps.items():
            if truth is not None:
                yield from located(found, truth, {"subject": method, **common})
            row = {"subject": method, **common, "over": "faithfulness", **self.removed(net, x, found, y, context)}
            if method in methods:
                explain, few, of = methods[method], x[:MOVED], y[:MOVED]
                account = attributions[method] * x if method in SENSITIVITIES else attributions[method]
                generator = context.generator("infidelity")
                told = e.infidelity(net, x, account, y, generator=generator, samples=self.draws)
                row["infidelity"] = float(told.mean())
                moves = e.max_sensitivity(
                    lambda moved, explain=explain, of=of: explain(net, moved, of, context),  # type: ignore[misc]
                    few,
                    generator=context.generator("sensitivity"),
                    samples=3,
                )
                row |= {"max_sensitivity": float(np.nanmean(moves))} if np.isfinite(moves).any() else {}
            yield row
        for a, b in combinations(methods, 2):
            shared = e.top_k_agreement(maps[a], maps[b], max(1, round(TOP * maps[a][0].numel())))
            yield {"subject": a, **common, "over": "agreement", "other": b, "agreement": float(shared.mean())}
        yield from self.randomised(name, net, x, y, maps, truth, context)

    def removed(self, net: nn.Module, x: Tensor, maps: Tensor, y: Tensor, context: Context) -> dict[str, float]:
        """What is left of the answers when the most relevant pixels are gone."""
        pixels = max(1, maps[0].numel() // 32)
        flipped = e.pixel_flipping(net, x, maps, y, pixels=pixels, most=COVERED)
        filled = e.road(net, x, maps, y, generator=context.generator("road"))
        return {"pixel_flipping": float(flipped.mean()), "road": float(filled.mean())}

    def randomised(
        self,
        name: str,
        net: nn.Module,
        x: Tensor,
        y: Tensor,
        maps: dict[str, Tensor],
        truth: Shapes | None,
        context: Context,
    ) -> Iterator[Measurement]:
        """The same explanations of networks with more and more random layers; those of one picture are kept."""
        nets = list(e.randomised(net, seed=context.integer("randomised", name)))
        layers = np.unique(np.linspace(1, len(nets), min(self.randomisations, len(nets))).round().astype(int))
        shown = [torch.stack([found[0] for found in maps.values()])]
        for count in layers.tolist():
            _, other = nets[count - 1]
            found = {
                method: relevance(method, METHODS[method](other, x, y, context)) for method in maps if method in METHODS
            }
            found |= {RANDOM: noise_maps(x, context, name, count), EDGES: e.edges(x).sum(1)}
            shown.append(torch.stack([found[method][0] for method in maps]))
            for method, before in maps.items():
                row = {"subject": method, "model": name, "data": self.dataset, "over": "randomised", "layers": count}
                row["spearman"] = correlation(before, found[method])
                row["spearman_of_sizes"] = correlation(before.abs(), found[method].abs())
                if truth is not None:
                    row["rank_accuracy"] = float(e.relevance_rank_accuracy(found[method], truth.sign).mean())
                yield row
        context.keep(f"maps {name}", torch.stack(shown, 1).float())
        context.keep(f"methods {name}", np.array(list(maps)))
        context.keep(f"layers {name}", layers)
        context.keep("picture", x[0].float())

    claims = [
        Claim(
            "(a) of the pixels that a method ranks highest, even the best method's are the sign's in over 10 points "
            "fewer than those of a linear model's contributions",
            lambda rows: below(best_minus_linear(rows), -WORSE),
        ),
        Claim(
            "(b) guided backpropagation keeps a rank correlation of over 0.5 when all layers are drawn anew",
            lambda rows: above(kept(rows, "guided backpropagation"), KEPT),
            source="Adebayo et al. 2018",
        ),
        Claim(
            "(b) gradient and Grad-CAM do not",
            lambda rows: all_of(*(below(kept(rows, method), KEPT) for method in ("gradient", "Grad-CAM"))),
            source="Adebayo et al. 2018",
        ),
        Claim(
            "(b) taken by their size, gradient x input and integrated gradients keep one of over 0.5, too",
            lambda rows: all_of(
                *(
                    above(kept(rows, method, "spearman_of_sizes"), KEPT)
                    for method in ("gradient x input", "integrated gradients")
                )
            ),
            source="Adebayo et al. 2018",
        ),
        Claim(
            "(c) of the most relevant tenth of pixels two methods share less than half, on average over all pairs",
            lambda rows: below(per_seed(of_cnn(rows, "agreement"), lambda r: r.agreement.mean()), SHARED),
        ),
        Control(
            "maps of random numbers find the sign as often as chance does, and are unlike each other",
            random_maps,
            kind="negative",
        ),
        Control(
            "edges, which know no network, stay as they are when all layers are drawn anew; "
            "and of the pixels that a linear model's contributions rank highest over half are the sign's",
            can_be_found,
            kind="positive",
        ),
        Control(
            "the network and the linear model have learnt: test accuracy over 0.95 and 0.9 "
            "(digits: 0.9 and 0.85; MNIST: 0.9 and 0.8; CIFAR-10: 0.5 and 0.25)",
            knows,
            kind="gate",
        ),
        Control(
            "and what is taken for the cause is theirs: without the distractor over 95 in 100 answers stay",
            ignores_the_distractor,
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """A picture's explanations as layers are drawn anew, and beside each method what it is worth."""
        figure.set_size_inches(15, 5.6)
        figure.set_layout_engine("constrained")
        name = self.models[0]
        grid, *panels = figure.subplots(1, 1 + len(PANELS), width_ratios=(4.6, *[1] * len(PANELS)))
        draw_grid(grid, artefacts, name)
        for axes, (metric, (over, title, low, high)) in zip(panels, PANELS.items(), strict=True):
            draw_panel(axes, rows, name, metric, over)
            axes.set_title(title, fontsize=8)
            axes.set_xlim(low, high)
            axes.set_yticks(range(len(SHOWN)), [])
            axes.set_ylim(len(SHOWN) - 0.5, -0.5)
            axes.grid(axis="y", linewidth=0.4)
            axes.tick_params(labelsize=7)


# -------------------------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True)
class Task:
    """Images [n, channels, h, w] to learn from and to test on, their labels, and what decides in the latter."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    truth: Shapes | None


def as_images(x: NDArray[np.float32], context: Context) -> Tensor:
    """[n, 1, h, w] on the trial's device."""
    return torch.from_numpy(x)[:, None].to(context.device)


def network(shape: Sequence[int], classes: int, width: int) -> nn.Sequential:
    """Three convolutions, of which two halve the resolution, and a linear layer."""
    channels, height, columns = shape
    features = 2 * width * -(-height // 4) * -(-columns // 4)
    return nn.Sequential(
        nn.Conv2d(channels, width // 2, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(features, classes),
    )


@torch.no_grad()
def answered(predict: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """[n]: the likeliest class."""
    return torch.cat([predict(part).argmax(1) for part in x.split(500)])


class Tree:
    """A decision tree, and the account that it gives of its answers."""

    def __init__(self, task: Task, seed: int) -> None:
        from sklearn.tree import DecisionTreeClassifier

        self.tree = DecisionTreeClassifier(max_depth=LEVELS, random_state=seed % 2**32)
        self.tree.fit(task.x.flatten(1).cpu().numpy(), task.y.cpu().numpy())

    def __call__(self, x: Tensor) -> Tensor:
        """Probabilities [n, classes]."""
        return torch.from_numpy(self.tree.predict_proba(x.flatten(1).cpu().numpy())).to(x.device)

    def read(self, x: Tensor) -> NDArray[np.float64]:
        """[n, h, w]: what each turn on the way adds to the answer's probability, at the pixel that it looks at."""
        nodes = self.tree.tree_
        flat = x.flatten(1).cpu().numpy()
        maps = np.zeros(flat.shape)
        for row, (image, leaf) in enumerate(zip(flat, self.tree.apply(flat), strict=True)):
            answer, node = nodes.value[leaf, 0].argmax(), 0
            while nodes.children_left[node] != nodes.children_right[node]:
                pixel = nodes.feature[node]
                left = image[pixel] <= nodes.threshold[node]
                following = (nodes.children_left if left else nodes.children_right)[node]
                maps[row, pixel] += nodes.value[following, 0, answer] - nodes.value[node, 0, answer]
                node = following
        return maps.reshape(x.shape).sum(1)


def relevance(method: str, attributions: Tensor) -> Tensor:
    """[n, h, w]: of sensitivities the size, of contributions the sum over channels."""
    return (attributions.abs() if method in SENSITIVITIES else attributions).sum(1)


def noise_maps(x: Tensor, context: Context, *axis: str | int) -> Tensor:
    """[n, h, w]: nothing."""
    return torch.rand((len(x), *x.shape[2:]), generator=context.generator("noise maps", *axis)).to(x.device)


def correlation(first: Tensor, second: Tensor) -> float:
    """The mean rank correlation of maps, 0 where one of them is blank."""
    return float(np.nan_to_num(e.rank_correlation(first, second)).mean().clip(-1, 1))


def located(maps: Tensor | NDArray, truth: Shapes, common: Measurement) -> Iterator[Measurement]:
    """How much of a method's relevance lies on the sign, and in the square around it."""
    elsewhere = float(e.relevance_rank_accuracy(maps, truth.distractor).mean())
    for over, mask in (("sign", truth.sign), ("place", truth.place)):
        yield {
            **common,
            "over": over,
            "rank_accuracy": float(e.relevance_rank_accuracy(maps, mask).mean()),
            "mass_accuracy": float(e.relevance_mass_accuracy(maps, mask).mean()),
            "pointing": float(e.pointing_game(maps, mask).mean()),
            "chance": float(mask.mean()),
            **({"on_distractor": elsewhere} if over == "sign" else {}),
        }


# ------------------------------------------------------------------------------------------------------------ picture

SHOWN = (*METHODS, EDGES, RANDOM)
PANELS = {  # metric → over, title, limits
    "rank_accuracy": ("sign", "rank accuracy ↑\n(orange: linear,\ngreen: tree)", 0, 1),
    "pixel_flipping": ("faithfulness", "pixel flipping ↓", 0, 1),
    "road": ("faithfulness", "ROAD ↓", 0, 1),
    "infidelity": ("faithfulness", "infidelity ↓", 0, None),
    "max_sensitivity": ("faithfulness", "largest\nsensitivity ↓", 0, None),
    "spearman": ("randomised", "rank correlation,\nall layers random", -0.3, 1.05),
    "agreement": ("agreement", "agreement\nwith others", 0, 1),
}


def draw_grid(axes: Axes, artefacts: Artefacts, name: str) -> None:
    """One picture's explanations, a method a row, the network's first and then with more and more random layers."""
    seeds = [seed for seed, found in sorted(artefacts.items()) if {f"maps {name}", "picture"} <= set(found)]
    axes.set_yticks(range(len(SHOWN)), SHOWN, fontsize=8)
    columns = 1
    if seeds:
        found = artefacts[seeds[0]]
        methods, maps, layers = (found[f"{what} {name}"] for what in ("methods", "maps", "layers"))
        columns = 1 + maps.shape[1]
        for row, method in enumerate(SHOWN):
            image = found["picture"].mean(0)
            cells = [(image, {"cmap": "gray"})]
            if method in methods:
                own = maps[methods.tolist().index(method)]
                largest = [max(np.abs(one).max(), 1e-12) for one in own]
                cells += [
                    (one / most, {"cmap": "RdBu_r", "vmin": -1, "vmax": 1})
                    for one, most in zip(own, largest, strict=True)
                ]
            for column, (cell, style) in enumerate(cells):
                place = (column - 0.46, column + 0.46, row + 0.46, row - 0.46)
                axes.imshow(cell, extent=place, aspect="auto", interpolation="nearest", **style)
        titles = ["picture", "network", *(f"{count} random" for count in layers)]
        axes.set_xticks(range(columns), titles, fontsize=8)
        axes.xaxis.tick_top()
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(len(SHOWN) - 0.5, -0.5)
    axes.set_xlabel("layers drawn anew, from the last on; red speaks for the class", fontsize=8)
    axes.set_ylabel("explanation", fontsize=8)
    axes.tick_params(length=0)


def draw_panel(axes: Axes, rows: pd.DataFrame, name: str, metric: str, over: str) -> None:
    """A metric of each method, with intervals over seeds."""
    if not {"subject", "model", "over", metric} <= set(rows.columns):
        return
    ours = where(rows, model=name, over=over)
    if over == "randomised" and len(ours):
        ours = ours[ours.layers == ours.layers.max()]
    if over == "agreement" and len(ours):  # each pair is both methods'
        turned = ours.rename(columns={"subject": "other", "other": "subject"})
        import pandas as pd

        ours = pd.concat([ours, turned])
    for row, method in enumerate(SHOWN):
        values = per_seed(where(ours, subject=method), lambda r: r[metric].mean())
        draw_across(axes, row, values, "#0072B2" if method in METHODS else "#999999")
    for model, color in ((LINEAR, "#D55E00"), (TREE, "#009E73")):
        known = where(rows, model=model, over=over)[metric].mean()
        if np.isfinite(known):
            axes.axvline(known, color=color, linestyle="--", linewidth=1.2)


def draw_across(axes: Axes, row: int, values: pd.Series, color: str) -> None:
    """A mean with its interval, from left to right."""
    from dlbench import stats

    values = values.dropna()
    if len(values):
        mean, low, high, n = stats.t_interval(values)
        axes.plot(mean, row, "o", color=color, markersize=5)
        if n > 1:
            axes.hlines(row, low, high, color=color, linewidth=1.5)
