"""A texture optimised over many views fools from every side, one optimised for a single view does not.

A texture is changed for many views and, with the same budget, for one; then new views are shown to the network, and
those are counted that it takes for the target. A network that goes by the outline alone, which no texture changes,
would change the verdict.

Adversarial images are made for one view, and lose their effect when the camera moves. Expectation over transformation
(EOT; Athalye et al., ICML 2018) takes the gradient of the mean loss over views that are drawn anew in every step, and
so finds a perturbation that holds under all of them:

- in 3-D: of the texture of a body, whatever its rotation, the place of the camera, light, background and noise;
- in 2-D: of a picture, rotated by up to 22.5°, scaled and shifted; and what is left of it beyond that angle.

The attacks are targeted and stay within an l2 ball around the texture. EOT and the single-view attack are the same call
with the same budget of steps and photographs; in the latter all photographs are of one view, and only the camera's
noise is new. EOT may go as far from each texture as the single-view attack went, and no farther. What counts is
adversariality, the share of new views that the network takes for the target; no attack has seen these. A random texture
at the same distance is the negative control, the single-view attack in its own view the positive one. A universal
perturbation (Moosavi-Dezfooli et al., CVPR 2017), one for each target, found by EOT over other objects of all kinds as
well as views, and added to every object at the same distance, is a baseline: it knows the views, but not the object; no
claim is about it. Distances are given in CIELAB too, where they are about as large as they look.

Bodies, textures and pictures are drawn, and a small network learns to tell their kinds apart. Pictures differ in their
outlines alone. Bodies differ in outline and surface, as things do: each kind has markings along a colour axis of its
own. That matters: with ``marking=0`` the network has to go by the outline, which no texture changes, and most new views
are not taken for the target. Size of the perturbations, markings and network were chosen on seeds 100 to 106 so that
the effect is there; that it can be had is the claim.

The views vary as in the paper, but for narrower light and contrast in 3-D, and for noise: a pixel of 32 × 32 pools 87
pixels of 299 × 299, and a standard deviation of 0.1 there is 0.01 here. The preset
``full`` has more kinds and objects, larger images, a deeper network and a longer optimisation; it is procedural as
well. Nothing is printed and photographed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
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
    all_of,
    attacks,
    below,
    between,
    draw_means,
    every,
    one_of,
    paired,
    per_seed,
    where,
)
from dlbench.errors import ParameterError
from dlbench_plugins.robustness.classifiers import Recipe, Residual, fit
from dlbench_plugins.robustness.rendering import BODIES, Flat, Scene, Solid, directions, grid

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

SHAPES = ("disc", "square", "triangle", "flower", "cross", "ellipse")
ANGLES = range(-90, 91, 15)  # by which perturbed pictures are turned, degrees
INSIDE, OUTSIDE = 22.5, 45.0  # up to the first they were optimised; from the second on is beyond
TURNED = 10  # views at each of these angles
OWN = 20  # photographs of the view that a single-view attack is made for
SHOWN = 6  # views in the picture
AT_ONCE = 100  # photographs that are rendered together
OTHERS = 32  # objects of each kind for which a universal perturbation is found


# ------------------------------------------------------------------------------------------------------------- rules


def fools_from_everywhere(rows: pd.DataFrame, part: str) -> Verdict:
    """On new views, EOT's adversariality is 30 points above the single-view attack's, and above one half."""
    new = where(rows, part=part, view="new")
    return all_of(
        above(paired(new, "adversariality", "eot", "single_view"), 0.30),
        above(where(new, subject="eot").adversariality, 0.50),
    )


def fades_outside(rows: pd.DataFrame) -> Verdict:
    """EOT's adversariality falls by more than 10 points from the angles it was optimised for to those from 45° on."""

    def lost(turned: pd.DataFrame) -> float:
        angle = turned.angle.abs()
        return float(turned[angle <= INSIDE].adversariality.mean() - turned[angle >= OUTSIDE].adversariality.mean())

    return above(per_seed(where(rows, part="2d", view="turned", subject="eot"), lost), 0.10)


def each_part(rows: pd.DataFrame, rule: Callable[[pd.DataFrame], Verdict], view: str = "new") -> Verdict:
    """A rule on the rows of one kind of view, in 3-D and in 2-D."""
    return every(where(rows, view=view), "part", rule)


def nothing_changes(rows: pd.DataFrame) -> Verdict:
    """With eps = 0 EOT leaves every texture as it was, and none is taken for the target."""
    still = where(rows, subject="eot_eps_zero")
    return all_of(below(still.rms, 1e-12), below(still.adversariality, 0.05))


def chance_does_little(rows: pd.DataFrame) -> Verdict:
    """A random texture at the same distance costs less than 5 points of accuracy, and is not taken for the target."""
    return all_of(
        below(paired(rows, "accuracy", "unperturbed", "random_texture"), 0.05),
        below(where(rows, subject="random_texture").adversariality, 0.05),
    )


def distances_are_equal(rows: pd.DataFrame) -> Verdict:
    """EOT goes no farther from the texture than the others, but for 1 % of eps, and they no farther than eps."""
    return all_of(
        below(where(rows, subject="single_view").budget_used, 1.0001),
        below(paired(rows, "budget_used", "eot", "single_view"), 0.01),
        below(paired(rows, "budget_used", "eot", "random_texture"), 0.01),
    )


# -------------------------------------------------------------------------------------------------- published numbers


def published(metric: str, value: float, part: str, subject: str, **spread: Any) -> Reference:
    """A number of the paper: Inception-v3, on 1000 images of ImageNet and on ten 3-D models with twenty targets."""
    source = "Athalye et al., ICML 2018, arXiv:1707.07397"
    setting = {"part": part, "subject": subject, "view": "new", "model": "inception_v3"}
    return Reference(metric, value, source, setting, note="read in the source", **spread)


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class Adversarial3D(Experiment):
    bodies: tuple[str, ...] = one_of(*BODIES, default=("ball", "cube", "turtle", "table"))
    shapes: tuple[str, ...] = one_of(*SHAPES, default=("disc", "square", "triangle", "flower"))
    objects: int = between(1, 1000, default=2)  # of each kind, with every other kind as a target
    size: int = between(8, 512, default=32)  # of images, pixels
    side: int = between(2, 512, default=16)  # of the six faces of a body's texture, texels
    marking: float = between(0, 0.5, default=0.12)  # standard deviation of what sets the surfaces of kinds apart
    model: str = one_of("cnn", "resnet", default="cnn")
    training_images: int = between(10, 10**7, default=4000)
    epochs: int = between(1, 1000, default=6)
    batch_size: int = between(1, 10_000, default=64)
    lr: float = between(1e-6, 10, default=0.1)
    eps_3d: float = between(1e-6, 1, default=0.08)  # root mean square over texels and channels
    eps_2d: float = between(1e-6, 1, default=0.0125)
    steps: int = between(1, 100_000, default=24)
    eot_samples: int = between(1, 10_000, default=6)  # photographs in each step
    held_out: int = between(SHOWN, 100_000, default=60)  # views of each object that judge

    title = "A texture can be adversarial from every side"
    chapter = "robustness"
    version = 4  # a universal perturbation is among the attacks; the numbers of the others are those of version 3
    sources = (
        "Athalye, Engstrom, Ilyas & Kwok, Synthesizing robust adversarial examples, ICML 2018, arXiv:1707.07397",
        "Moosavi-Dezfooli, Fawzi, Fawzi & Frossard, Universal adversarial perturbations, CVPR 2017, arXiv:1610.08401",
    )
    metrics = {
        "adversariality": Metric("share of views taken for the target", better="higher", main=True, low=0, high=1),
        "adversariality_sd": Metric("its standard deviation over objects and targets", low=0, high=1),
        "accuracy": Metric("share of views taken for what they show", low=0, high=1),
        "target_probability": Metric("mean probability given to the target", low=0, high=1),
        "rms": Metric("root-mean-square change of a texel's channel", low=0, high=1),
        "budget_used": Metric("distance from the texture, over the greatest allowed", low=0),
        "lab_distance": Metric("mean distance of texels in CIELAB", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "bodies": tuple(BODIES),
            "shapes": SHAPES,
            "objects": 4,
            "size": 64,
            "side": 32,
            "model": "resnet",
            "training_images": 60_000,
            "epochs": 10,
            "steps": 300,
            "eot_samples": 40,
            "held_out": 100,
        },
    }
    references = (
        published("adversariality", 0.834, "3d", "eot", sd=0.217, n=200),
        published("adversariality", 0.964, "2d", "eot"),
        published("accuracy", 0.011, "3d", "eot"),
        published("accuracy", 0.688, "3d", "unperturbed"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kinds in (("bodies", self.bodies), ("shapes", self.shapes)):
            if len(kinds) < 2 or len(set(kinds)) < len(kinds):
                raise ParameterError(f"{name} is {kinds}; give two kinds or more, each once")

    def trial(self, context: Context) -> Iterator[Measurement]:
        for part in self.parts():
            net = trained(part, self, context)
            context.progress(0.3 if part.name == "3d" else 0.8, f"the network is trained, {part.name}")
            for row in measured(part, net, self, context):
                yield {"part": part.name, **row}

    def parts(self) -> tuple[Part, Part]:
        """Bodies, and pictures, which the network learns at any angle, so that it knows those beyond the attack's."""
        solids: Mapping[str, Scene] = {kind: Solid(self.size, body=kind, side=self.side) for kind in self.bodies}
        flat, places = Flat(self.size, side=self.size), directions(self.side)
        flats: Mapping[str, Scene] = dict.fromkeys(self.shapes, flat)
        turned: Mapping[str, Scene] = dict.fromkeys(self.shapes, replace(flat, angles=(-180.0, 180.0)))
        return (
            Part("3d", solids, solids, lambda kind, n, rng: surfaces(kind, n, places, self.marking, rng), self.eps_3d),
            Part("2d", flats, turned, lambda kind, n, rng: pictures(kind, n, self.size, rng), self.eps_2d),
        )

    claims = [
        Claim(
            "the texture of a body, optimised over views, is taken for the target from most new viewpoints, "
            "and 30 points more often than one optimised for a single view",
            lambda rows: fools_from_everywhere(rows, "3d"),
            source="Athalye et al. 2018",
            reference=references[0],
        ),
        Claim(
            "a picture, optimised over rotations, scales and shifts, is taken for the target under most new ones, "
            "and 30 points more often than one optimised for a single view",
            lambda rows: fools_from_everywhere(rows, "2d"),
            source="Athalye et al. 2018",
            reference=references[1],
        ),
        Claim("turned by 45° or more, beyond what it was optimised for, it loses more than 10 points", fades_outside),
        Control("with eps = 0 nothing changes", lambda rows: each_part(rows, nothing_changes), kind="negative"),
        Control(
            "a random texture at the same distance costs less than 5 points of accuracy",
            lambda rows: each_part(rows, chance_does_little),
            kind="negative",
        ),
        Control(
            "in its own view, 90 % of new photographs of the single-view attack are taken for the target",
            lambda rows: each_part(
                rows, lambda r: above(where(r, subject="single_view").adversariality, 0.90), view="own"
            ),
            kind="positive",
        ),
        Control(
            "the networks are trained: 95 % of new views right",
            lambda rows: each_part(rows, lambda r: above(where(r, subject="unperturbed").accuracy, 0.95)),
            kind="gate",
        ),
        Control(
            "EOT goes no farther than what it is compared with",
            lambda rows: each_part(rows, distances_are_equal),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Views of a body and of a picture, framed by the network's answers; below, success by object and by angle."""
        from matplotlib.patches import Patch

        figure.set_size_inches(10, 5.8)
        for part, kinds, left in (("3d", self.bodies, 0.065), ("2d", self.shapes, 0.565)):
            draw_views(figure, part, kinds, left, artefacts)
        frames = [Patch(facecolor="none", edgecolor=colour, linewidth=2.5, label=name) for colour, name in FRAMES]
        figure.legend(handles=frames, loc="center", bbox_to_anchor=(0.53, 0.495), ncols=3, frameon=False, fontsize=8)
        draw_histogram(figure.add_axes((0.065, 0.09, WIDTH, 0.34)), artefacts)
        draw_angles(figure.add_axes((0.565, 0.09, WIDTH, 0.34)), rows)


# -------------------------------------------------------------------------------------------------- what is looked at


@dataclass(frozen=True)
class Part:
    """Kinds of things, what they look like, and how they are looked at.

    Args:
        name: ``"3d"`` or ``"2d"``.
        scenes: kind → the views that attacks are made for and judged by.
        training: kind → the views that the network learns from.
        draw: (kind, n, rng) → textures [n, texels, 3].
        eps: greatest root-mean-square change of a texel's channel.
    """

    name: str
    scenes: Mapping[str, Scene]
    training: Mapping[str, Scene]
    draw: Callable[[str, int, np.random.Generator], Tensor]
    eps: float


def colour_axes() -> Tensor:
    """Six axes [6, 3] of the colour cube, any two at the same angle: the diagonals of an icosahedron."""
    golden = (1 + math.sqrt(5)) / 2
    one = torch.tensor([[0, 1, golden], [0, -1, golden]])
    return F.normalize(torch.cat([one.roll(shift, 1) for shift in range(3)]), dim=1)


def uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Uniform numbers in [low, high)."""
    return low + (high - low) * torch.from_numpy(rng.random(shape, dtype=np.float32))


def normal(rng: np.random.Generator, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def surfaces(kind: str, n: int, places: Tensor, marking: float, rng: np.random.Generator) -> Tensor:
    """Textures [n, texels, 3] of a kind of body, at places [texels, 3] on the unit sphere.

    Ground and grain tell nothing of the kind; the markings vary along its own axis of colour. They are eight waves in
    space each, so that they have no seams.
    """
    waves = F.normalize(normal(rng, n, 8, 3), dim=2) * uniform(rng, 5, 9, n, 8, 1)  # radians a unit of length
    height = (waves @ places.T + uniform(rng, 0, 2 * math.pi, n, 8, 1)).sin().sum(1) / 2  # of variance 1
    marked = marking * math.sqrt(3) * height[..., None] * colour_axes()[list(BODIES).index(kind)]
    grain = uniform(rng, 0, 0.15, n, 1, 1) * normal(rng, n, len(places), 3)
    return (uniform(rng, 0.35, 0.65, n, 1, 3) + marked + grain).clamp(0, 1)


def pictures(shape: str, n: int, side: int, rng: np.random.Generator) -> Tensor:
    """Pictures [n, side², 3] of a shape at any angle, of one colour on another, which tell nothing of the shape."""
    places = grid(side, torch.empty(0))
    angle = torch.atan2(places[:, 1], places[:, 0]) - uniform(rng, 0, 2 * math.pi, n, 1)
    inside = ((radius(shape, angle) - places.norm(dim=1)) * side / 2 + 0.5).clamp(0, 1)  # an edge is a texel wide
    contrast = uniform(rng, 0.1, 0.2, n, 1, 3) * uniform(rng, -1, 1, n, 1, 3).sign()
    return uniform(rng, 0.4, 0.6, n, 1, 3) + (2 * inside[..., None] - 1) * contrast


def radius(shape: str, angle: Tensor) -> Tensor:
    """Distance of a shape's outline from its centre, in the directions of angles; half of the picture's side is 1."""
    cos, sin = angle.cos().abs(), angle.sin().abs()
    if shape == "disc":
        return torch.full_like(angle, 0.4)
    if shape == "ellipse":
        return 0.25 / (cos.square() / 4 + sin.square()).sqrt()
    if shape == "flower":
        return 0.36 + 0.14 * (5 * angle).cos()
    if shape == "cross":  # two bars
        return torch.maximum(torch.minimum(0.5 / cos, 0.17 / sin), torch.minimum(0.17 / cos, 0.5 / sin))
    corners, reach = {"square": (4, 0.5), "triangle": (3, 0.6)}[shape]
    sector = 2 * math.pi / corners
    return reach * math.cos(sector / 2) / (angle.remainder(sector) - sector / 2).cos()


def words(context: Context, n: int, *axis: str | int) -> Tensor:
    """Words [n] that name views, drawn for one purpose."""
    drawn = context.rng("views", *axis).integers(-(2**63), 2**63, n, dtype=np.int64)
    return torch.from_numpy(drawn).to(context.device)


# --------------------------------------------------------------------------------------------------------- training


def network(model: str, kinds: int) -> nn.Module:
    """From images [n, 3, size, size] to logits [n, kinds], untrained: three convolutions, or three residual blocks.

    What they find is pooled to 2 × 2: it counts what is there, and roughly where.
    """
    if model == "resnet":
        layers = [nn.Conv2d(3, 64, 3, padding=1, bias=False), Residual(64, 64), Residual(64, 128), Residual(128, 256)]
        layers += [nn.BatchNorm2d(256), nn.ReLU()]
    else:
        layers = []
        for inputs, outputs, stride in ((3, 12, 2), (12, 24, 2), (24, 32, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    features = 4 * (256 if model == "resnet" else 32)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(features, kinds))


def trained(part: Part, study: Adversarial3D, context: Context) -> nn.Module:
    """A network that tells the kinds apart; it has seen each of its textures in one view."""
    each, images = math.ceil(study.training_images / len(part.training)), []
    for kind, scene in part.training.items():
        textures = part.draw(kind, each, context.rng("training textures", part.name, kind)).to(context.device)
        views = words(context, each, "training", part.name, kind)
        for some, named in zip(textures.split(AT_ONCE), views.split(AT_ONCE), strict=True):
            images.append(scene.photograph(some[:, None], named).squeeze(1))
    labels = torch.arange(len(part.training), device=context.device).repeat_interleave(each)
    with context.seeded("init", part.name):
        net = network(study.model, len(part.training)).to(context.device)
    fit(net, torch.cat(images), labels, Recipe(study.epochs, study.batch_size, study.lr), context)
    return net


# ---------------------------------------------------------------------------------------------------------- attacks


@dataclass(frozen=True)
class Case:
    """An object under attack, towards every other kind.

    Args:
        net: what is to be fooled.
        scene: how the object is looked at.
        texture: [texels, 3].
        label: its kind.
        targets: [t] the other kinds.
        own: [1] the word of the view that the single-view attack is made for.
        eps: greatest root-mean-square change of a texel's channel.
    """

    net: nn.Module
    scene: Scene
    texture: Tensor
    label: int
    targets: Tensor
    own: Tensor
    eps: float

    def attacked(self, study: Adversarial3D, seed: int) -> dict[str, Tensor]:
        """Textures [t, texels, 3], one a target, by what was done to them; none goes farther than the single view's.

        That one may stop short of eps: once the target's probability in its view is 1, the gradient vanishes.
        """
        x = self.texture.expand(len(self.targets), -1, -1)
        settings: dict[str, Any] = {
            "norm": "l2",
            "target": self.targets,
            "steps": study.steps,
            "eot_samples": study.eot_samples,
            "random_start": False,
            "stop": "never",
            "keep": "last",  # the best one so far is the one with the luckiest views
            "seed": seed,
        }

        def perturbed(eps: float | Tensor, transform: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            labels = torch.full_like(self.targets, self.label)
            return attacks.perturb(self.net, x, labels, eps=eps, transform=transform, **settings).x_adv

        single_view = perturbed(self.eps * math.sqrt(self.texture.numel()), self.in_own_view)
        distance = (single_view - x).flatten(1).norm(dim=1)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.device)
        away = noise * (distance / noise.flatten(1).norm(dim=1))[:, None, None]
        return {
            "unperturbed": x,
            "random_texture": (x + away).clamp(0, 1),
            "single_view": single_view,
            "eot": perturbed(distance, self.in_new_views),
            "eot_eps_zero": perturbed(0.0, self.in_new_views),
        }

    def with_added(self, common: Tensor, distance: Tensor) -> Tensor:
        """Textures [t, texels, 3] with each target's perturbation [t, texels, 3], brought to a length [t] first.

        Steps for ever new objects go hither and thither, and hardly ever reach the surface of the ball by themselves.
        """
        length = common.flatten(1).norm(dim=1).clamp(min=1e-12)
        return (self.texture + common * (distance / length)[:, None, None]).clamp(0, 1)

    def in_new_views(self, textures: Tensor, draws: Tensor) -> Tensor:
        """Photographs [m, 3, size, size] of textures [m, texels, 3], each in the view that its word names."""
        return self.scene.photograph(textures[:, None], draws).squeeze(1)

    def in_own_view(self, textures: Tensor, draws: Tensor) -> Tensor:
        """Photographs of them all in one view; only the camera's noise is named by the words."""
        return self.scene.photograph(textures[None], self.own, noise=draws[None]).squeeze(0)

    @torch.no_grad()
    def answers(self, images: Tensor) -> Tensor:
        """Probabilities [m, a, kinds] of photographs [m, a, 3, size, size]."""
        return self.net(images.flatten(0, 1)).softmax(1).unflatten(0, images.shape[:2])


def universal(part: Part, net: nn.Module, study: Adversarial3D, context: Context) -> Tensor:
    """Perturbations [kinds, texels, 3], one towards each kind, for textures that are drawn anew, in any view."""
    kinds = len(part.scenes)
    drawn = (part.draw(kind, OTHERS, context.rng("other textures", part.name, kind)) for kind in part.scenes)
    others = torch.stack(list(drawn)).to(context.device)

    def photographed(added: Tensor, draws: Tensor) -> Tensor:
        """Each perturbation [m, texels, 3] on the object, and in the view, that its word names."""
        which = draws.remainder(kinds * OTHERS)
        of_kind = [(which // OTHERS == kind).nonzero().squeeze(1) for kind in range(kinds)]
        images = []
        for scene, textures, rows in zip(part.scenes.values(), others, of_kind, strict=True):
            changed = (textures[which[rows] % OTHERS] + added[rows]).clamp(0, 1)
            images.append(scene.photograph(changed[:, None], draws[rows]).squeeze(1))
        return torch.cat(images)[torch.cat(of_kind).argsort()]

    targets = torch.arange(kinds, device=context.device)
    nothing = torch.zeros_like(others[:, 0])
    return attacks.perturb(
        net,
        nothing,
        (targets + 1) % kinds,
        target=targets,
        eps=part.eps * math.sqrt(nothing[0].numel()),
        norm="l2",
        bounds=(-1.0, 1.0),
        steps=study.steps,
        eot_samples=study.eot_samples,
        transform=photographed,
        random_start=False,
        stop="never",
        keep="last",
        seed=context.integer("universal", part.name),
    ).x_adv


def measured(part: Part, net: nn.Module, study: Adversarial3D, context: Context) -> Iterator[Measurement]:
    """How the attacks on all objects of a part fare, on average over objects and targets."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    common = universal(part, net, study, context)
    for label, (kind, scene) in enumerate(part.scenes.items()):
        textures = part.draw(kind, study.objects, context.rng("textures", part.name, kind)).to(context.device)
        targets = torch.tensor([other for other in range(len(part.scenes)) if other != label], device=context.device)
        for number, texture in enumerate(textures):
            axis = (part.name, kind, number)
            case = Case(net, scene, texture, label, targets, words(context, 1, "own", *axis), part.eps)
            made = case.attacked(study, context.integer("attack", *axis))
            distance = (made["single_view"] - texture).flatten(1).norm(dim=1)
            made["universal"] = case.with_added(common[targets], distance)
            rows.extend(judged(case, made, study, context, axis))
            if number == 0 and kind == shown(part.scenes):
                keep_views(case, made, words(context, study.held_out, "new", *axis), part.name, context)
    frame = pd.DataFrame(rows)
    for subject in ("single_view", "eot"):
        context.keep(f"{part.name}_{subject}", where(frame, subject=subject, view="new").adversariality)
    for (subject, view, angle), group in frame.groupby(["subject", "view", "angle"], dropna=False, sort=False):
        setting = {"subject": subject, "view": view} | ({"angle": angle} if view == "turned" else {})
        means = group.drop(columns=["subject", "view", "angle"]).mean().dropna().to_dict()
        yield setting | means | {"adversariality_sd": group.adversariality.std(ddof=0)}


def judged(
    case: Case, made: Mapping[str, Tensor], study: Adversarial3D, context: Context, axis: tuple[str | int, ...]
) -> Iterator[dict[str, Any]]:
    """A row for each attack and target: in new views, in its own, and for a picture at each angle."""
    textures = torch.cat(list(made.values()))[None]
    images = case.scene.photograph(textures, words(context, study.held_out, "new", *axis))
    away = [distances(case, texture) for texture in textures[0]]
    for row, distance in zip(scored(case, made, images, "new"), away, strict=True):
        yield row | distance
    noise = words(context, OWN, "own noise", *axis)[:, None]
    yield from scored(case, made, case.scene.photograph(textures, case.own.expand(OWN), noise), "own")
    if isinstance(case.scene, Flat):
        for angle in ANGLES:
            turned = replace(case.scene, angles=(angle, angle))
            images = turned.photograph(textures, words(context, TURNED, "turned", angle, *axis))
            yield from scored(case, made, images, "turned", angle)


def scored(
    case: Case, subjects: Iterable[str], images: Tensor, view: str, angle: float = math.nan
) -> Iterator[dict[str, Any]]:
    """What the network makes of photographs [m, subjects * t, 3, size, size]: a row for each subject and target."""
    probability = case.answers(images)  # [m, subjects * t, kinds]
    answer, targets = probability.argmax(-1), case.targets.repeat(images.shape[1] // len(case.targets))
    of_target = probability.gather(-1, targets[:, None].expand(*answer.shape, 1)).squeeze(-1)
    scores = [(answer == targets).double(), (answer == case.label).double(), of_target.double()]
    by_texture = torch.stack(scores, -1).mean(0).tolist()
    for i, subject in enumerate(subjects):
        for row in by_texture[i * len(case.targets) : (i + 1) * len(case.targets)]:
            named = dict(zip(("adversariality", "accuracy", "target_probability"), row, strict=True))
            yield {"subject": subject, "view": view, "angle": angle, **named}


def distances(case: Case, texture: Tensor) -> dict[str, float]:
    """How far a texture [texels, 3] is from the object's own."""
    rms = float((texture - case.texture).double().square().mean().sqrt())
    seen = (cielab(texture) - cielab(case.texture)).norm(dim=-1).mean()
    return {"rms": rms, "budget_used": rms / case.eps, "lab_distance": float(seen)}


TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))


def cielab(colour: Tensor) -> Tensor:
    """CIELAB [..., 3], float64, of sRGB colours [..., 3] in [0, 1]; a distance of about 2 is just noticed.

    sRGB to XYZ as in IEC 61966-2-1, XYZ to L*a*b* as in CIE 15. White is that of the matrix, D65, so that greys have
    no a* and b*.
    """
    rgb = colour.double()
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = rgb.new_tensor(TO_XYZ)
    xyz = linear @ to_xyz.T / to_xyz.sum(1)
    x, y, z = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29).unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


# ---------------------------------------------------------------------------------------------------------- picture

WIDTH = 0.425  # of each half of the picture
FRAMES = (("#009E73", "right"), ("#D55E00", "the target"), ("0.65", "another kind"))  # what the network answers
LOOKS = {"unperturbed": ("0.45", "unperturbed"), "single_view": ("#0072B2", "single view"), "eot": ("#D55E00", "EOT")}


def shown(kinds: Iterable[str]) -> str:
    """The kind whose first object is in the picture: the turtle where there is one."""
    return "turtle" if "turtle" in kinds else next(iter(kinds))


def keep_views(case: Case, made: Mapping[str, Tensor], views: Tensor, part: str, context: Context) -> None:
    """Keep the object in the first new views, as each attack left it for the next kind, with the network's answers."""
    target = (case.label + 1) % (len(case.targets) + 1)
    textures = torch.cat([made[subject][case.targets == target] for subject in LOOKS])[None]
    images = case.scene.photograph(textures, views[:SHOWN])
    context.keep(f"{part}_images", (255 * images).round().byte())
    context.keep(f"{part}_answers", case.answers(images).argmax(-1))
    context.keep(f"{part}_kinds", np.array([case.label, target]))


def draw_views(figure: Figure, part: str, kinds: tuple[str, ...], left: float, artefacts: Artefacts) -> None:
    """A row of views for each attack, of the lowest seed, in frames that say what the network takes them for."""
    kept = [artefacts[seed] for seed in sorted(artefacts) if f"{part}_images" in artefacts[seed]]
    if not kept:
        return
    images, answers, (label, target) = (kept[0][f"{part}_{what}"] for what in ("images", "answers", "kinds"))
    frames = {label: FRAMES[0], target: FRAMES[1]}
    cells = figure.add_gridspec(
        len(LOOKS), len(images), left=left, right=left + WIDTH, top=0.925, bottom=0.535, wspace=0.08, hspace=0.08
    )
    for row, (_, name) in enumerate(LOOKS.values()):
        for column in range(len(images)):
            axes = figure.add_subplot(cells[row, column], xticks=[], yticks=[])
            axes.imshow(images[column, row].transpose(1, 2, 0))
            axes.spines[:].set(visible=True, linewidth=2.5, color=frames.get(answers[column, row], FRAMES[2])[0])
            axes.set_ylabel(name if column == 0 else "", fontsize=8)
    title = f"{part[0]}-D: a {kinds[label]} that is to be taken for a {kinds[target]}"
    figure.text(left, 0.95, title, fontsize=10)


def draw_histogram(axes: Axes, artefacts: Artefacts) -> None:
    """How often each object is taken for each target, over the objects and targets of all seeds."""
    for subject in ("single_view", "eot"):
        kept = [artefacts[seed][f"3d_{subject}"] for seed in sorted(artefacts) if f"3d_{subject}" in artefacts[seed]]
        if kept:
            values, (colour, name) = np.concatenate(kept), LOOKS[subject]
            share = np.full(len(values), 1 / len(values))
            axes.hist(values, np.linspace(0, 1, 11), weights=share, color=colour, alpha=0.6, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("share of new views taken for the target, 3-D", fontsize=9)
    axes.set_ylabel("share of objects × targets", fontsize=9)
    axes.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8)


def draw_angles(axes: Axes, rows: pd.DataFrame) -> None:
    """The target's probability against the angle by which pictures are turned, with 95 % intervals over seeds."""
    axes.axvspan(-INSIDE, INSIDE, color="0.92", linewidth=0, zorder=0)
    if {"part", "view", "subject", "angle", "target_probability"} <= set(rows.columns):
        turned = where(rows, part="2d", view="turned")
        for subject, (colour, name) in LOOKS.items():
            by_angle = dict(iter(where(turned, subject=subject).groupby("angle").target_probability))
            draw_means(
                axes,
                by_angle.keys(),
                by_angle.values(),
                limits=(0, 1),
                band=True,
                color=colour,
                label=name,
                marker="o",
                ms=3,
            )
    axes.set(xlim=(ANGLES[0], ANGLES[-1]), ylim=(0, 1), xticks=range(-90, 91, 30))
    axes.set_xlabel("rotation in 2-D, degrees (grey: optimised for)", fontsize=9)
    axes.set_ylabel("probability of the target", fontsize=9)
    axes.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8)
