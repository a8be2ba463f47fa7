"""Populations whose groups a classifier may serve unequally: made faces, coloured digits, and four real ones.

Each person or image has a label, a group (what a mitigation method is told), a side (1 where a gap is to be feared: the
minority in faces, the digits of the rarer colour, black people, birds that are not before their own ground, blond men)
and an attribute (what two decisions should not depend on: skin, colour, race, ground, sex).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlbench.errors import ParameterError

SIZE = 12  # of a face, in pixels
NOISE = 0.25  # of a face's pixels, standard deviation
FACE_GROUPS = ("light, short hair", "light, long hair", "dark, short hair", "dark, long hair")
DIGIT_GROUPS = ("0-4, red", "0-4, green", "5-9, red", "5-9, green")
COMPAS_GROUPS = ("white, no charge", "white, charge", "black, no charge", "black, charge")
BIRD_GROUPS = ("landbird, land", "landbird, water", "waterbird, land", "waterbird, water")
HAIR_GROUPS = ("not blond, woman", "not blond, man", "blond, woman", "blond, man")
INCOME_GROUPS = ("white, less", "white, more", "black, less", "black, more")  # than 50,000 dollars
FLIPPED = 0.25  # of the digits' labels
ENVIRONMENTS = (0.1, 0.2)  # how often the colour contradicts the label in training (Arjovsky et al. 2019)
SHIFTED = 0.9  # and in the test


@dataclass(frozen=True)
class Sample:
    """People or images, n of them."""

    x: Tensor  # [n, ...]
    y: Tensor  # [n] int64, 0 or 1
    group: Tensor  # [n] int64
    side: Tensor  # [n] int64, 0 or 1
    attribute: Tensor  # [n] int64, 0 or 1
    environment: Tensor  # [n] int64

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Tensor) -> Sample:
        """Some of them."""
        return self._mapped(lambda column: column[rows])

    def to(self, device: str) -> Sample:
        """The same on a device."""
        return self._mapped(lambda column: column.to(device))

    def and_(self, *others: Sample) -> Sample:
        """These and others, one after the other."""
        return Sample(*map(torch.cat, zip(*(part.columns() for part in (self, *others)), strict=True)))

    def columns(self) -> tuple[Tensor, ...]:
        """The tensors, in the order above."""
        return tuple(getattr(self, each.name) for each in fields(self))

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> Sample:
        return Sample(*map(function, self.columns()))


class Population(NamedTuple):
    """What is trained on, what is chosen by, and what is tested on once; groups by name."""

    train: Sample
    valid: Sample
    test: Sample
    groups: tuple[str, ...]

    def mapped(self, function: Callable[[Sample], Sample]) -> Population:
        """The same of all three samples."""
        return Population(function(self.train), function(self.valid), function(self.test), self.groups)


# ------------------------------------------------------------------------------------------------------------- faces


def faces(dark: int, light: int, rng: np.random.Generator, *, balanced: bool = False) -> Sample:
    """Made faces of 12 × 12 pixels; the label is whether the corners of the mouth point up.

    A dark face is the negative of a light one on the same grey ground, so that neither is harder than the other: what
    differs between the groups is how many of each there are, and nothing else. Hair is short or long, at random, or of
    each ``balanced`` as many.
    """
    n = dark + light
    skin = np.repeat([1, 0], [dark, light])
    hair = np.arange(n) % 2 if balanced else rng.integers(2, size=n)
    smile = rng.integers(2, size=n)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    shift, size = rng.uniform(-0.7, 0.7, (2, n, 1, 1)), rng.uniform(0.9, 1.1, (n, 1, 1))
    v, u = (rows - 5.5 - shift[0]) / (5 * size), (columns - 5.5 - shift[1]) / (4 * size)  # 1 at the rim of the head
    inside = _soft(1 - np.hypot(u, v), 0.15)
    above = _soft(-0.55 - v, 0.1)
    beside = _soft(np.abs(u) - 0.7, 0.1) * _soft(0.6 - v, 0.1) * hair[:, None, None]
    covered = np.maximum(above, beside) * _soft(1.25 - np.hypot(u, v), 0.1)
    eyes = sum(_spot(u - side * 0.4, v + 0.2, 0.16) for side in (-1, 1))
    bend = np.where(smile, -1, 1)[:, None, None] * 1.2
    mouth = _spot(0, v - 0.5 - bend * (u**2 - 0.1), 0.14) * _soft(0.55 - np.abs(u), 0.05)
    relief = 0.5 * inside * (1 - covered) - 0.9 * np.clip(eyes + mouth, 0, 1) - 0.7 * covered
    image = np.where(skin, -1, 1)[:, None, None] * relief + NOISE * rng.standard_normal((n, SIZE, SIZE))
    columns_ = (smile, 2 * skin + hair, skin, skin, np.zeros(n))
    return Sample(torch.from_numpy(image[:, None].astype(np.float32)), *map(_integers, columns_))


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """0 well below, 1 well above zero."""
    return 1 / (1 + np.exp(-np.clip(distance / width, -30, 30)))


def _spot(u: np.ndarray | float, v: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-(np.square(u) + np.square(v)) / (2 * width**2))


def in_windows(sample: Sample) -> Sample:
    """The same images cut into 4 × 4 windows, [n, 16, channels · pixels], once for all networks that read them so."""
    size = sample.x.shape[-1] // 4
    windows = sample.x.unfold(-2, size, size).unfold(-2, size, size)  # [n, channels, rows, columns, size, size]
    return replace(sample, x=windows.movedim(1, 3).flatten(3).flatten(1, 2))


# ------------------------------------------------------------------------------------------------------------ digits


def coloured_digits(
    data: Mapping[str, np.ndarray], train: int, valid: int, disagreement: tuple[float, ...], rng: np.random.Generator
) -> Population:
    """Digits from 5 on are 1, a quarter of the labels is wrong, and a colour says more than the digit does.

    As Arjovsky et al. 2019 made it of MNIST: in each training environment the colour contradicts the (wrong) label with
    its own probability. Validation images follow the training's; test images come in both colours each, so that any
    mixture can be read off them and every group is as large as there are images of its label.
    """
    if "train_x" in data:
        x, digit = (np.concatenate([data[f"train_{key}"], data[f"test_{key}"]]) for key in "xy")
        tested = np.arange(len(x)) >= len(x) - len(data["test_y"])
        order = np.concatenate([rng.permutation(np.flatnonzero(~tested)), rng.permutation(np.flatnonzero(tested))])
    else:
        x, digit = data["x"], data["y"]
        order = rng.permutation(len(x))
    known = len(x) - len(data["test_y"]) if "train_x" in data else len(x) - 1
    if train + valid > known:
        raise ParameterError(f"{train} digits to train and {valid} to choose by; there are {known} for both")
    if x.shape[-1] == 28:
        x = x[..., ::2, ::2]  # as published
    flipped = rng.random(len(x)) < FLIPPED
    label = (digit >= 5) ^ flipped
    environment, conflict = np.zeros(len(x), dtype=int), np.zeros(len(x), dtype=bool)
    for rows in (part[label[part] == of] for part in np.split(order, [train, train + valid]) for of in (0, 1)):
        environment[rows] = np.arange(len(rows)) % len(disagreement)
        for e, rate in enumerate(disagreement):  # so many exactly, or a few images would have a lucky colour
            mine = rows[environment[rows] == e]
            conflict[mine[: round(rate * len(mine))]] = True
    parts = [_coloured(x, label, conflict, environment, rows) for rows in np.split(order, [train, train + valid])[:2]]
    rest = order[len(order) - len(data["test_y"]) :] if "train_x" in data else order[train + valid :]
    both = [_coloured(x, label, np.full(len(x), of, dtype=bool), environment, rest) for of in (False, True)]
    return Population(*parts, both[0].and_(both[1]), DIGIT_GROUPS)


def grey(sample: Sample) -> Sample:
    """The same images without their colour."""
    return replace(sample, x=sample.x.mean(1, keepdim=True).expand_as(sample.x).contiguous())


def in_both_colours(sample: Sample) -> Sample:
    """Every image in both colours, so that the colour tells nothing."""
    other = replace(
        sample,
        x=sample.x.flip(1),
        group=2 * sample.y + 1 - sample.attribute,
        side=1 - sample.side,
        attribute=1 - sample.attribute,
    )
    return sample.and_(other)


def _coloured(
    x: np.ndarray, label: np.ndarray, conflict: np.ndarray, environment: np.ndarray, rows: np.ndarray
) -> Sample:
    colour = (label ^ conflict)[rows]
    images = x[rows][:, None] * np.stack([~colour, colour], 1)[..., None, None]  # red, green
    columns = (label[rows], 2 * label[rows] + colour, conflict[rows], colour, environment[rows])
    return Sample(torch.from_numpy(images.astype(np.float32)), *map(_integers, columns))


# ------------------------------------------------------------------------------------------------------------ COMPAS


def compas(data: Mapping[str, np.ndarray], rng: np.random.Generator) -> Population:
    """Black and white defendants; the label is a new charge within two years; race itself is not among the inputs.

    The publishers' filter applies. A quarter trains, 10 % choose and 65 % test, so that each group of race and label
    has at least 500 people in the test.
    """
    rows = np.flatnonzero(data["kept"] & np.isin(data["race"], ("African-American", "Caucasian")))
    counts = ("priors_count", "juv_fel_count", "juv_misd_count", "juv_other_count")
    features = [data["age"], *(np.log1p(data[name]) for name in counts)]
    features += [data["sex"] == "Male", data["c_charge_degree"] == "F"]
    x = np.stack(features, 1)[rows].astype(np.float32)
    y, black = data["two_year_recid"][rows], data["race"][rows] == "African-American"
    train, valid, test = np.split(rng.permutation(len(rows)), [len(rows) // 4, 35 * len(rows) // 100])
    x = (x - x[train].mean(0)) / x[train].std(0)
    everyone = Sample(torch.from_numpy(x), *map(_integers, (y, 2 * black + y, black, black, np.zeros(len(y)))))
    return Population(*(everyone[torch.from_numpy(part)] for part in (train, valid, test)), COMPAS_GROUPS)


# ---------------------------------------------------------------------------------------- Waterbirds, CelebA, ACSIncome


def waterbirds(data: Mapping[str, np.ndarray], most: int, rng: np.random.Generator) -> Population:
    """Birds of the water or the land before either; split as published, of the training pictures so many at most."""
    return _pictures(data, "place", lambda y, place: y != place, most, rng, BIRD_GROUPS)


def celeba(data: Mapping[str, np.ndarray], most: int, rng: np.random.Generator) -> Population:
    """Faces with blond hair or other; split as published, of the training pictures so many at most."""
    return _pictures(data, "male", lambda blond, male: blond & male, most, rng, HAIR_GROUPS)


def _pictures(
    data: Mapping[str, np.ndarray],
    attribute: str,
    rare: Callable[[np.ndarray, np.ndarray], np.ndarray],
    most: int,
    rng: np.random.Generator,
    groups: tuple[str, ...],
) -> Population:
    """Pictures stay bytes, [n, 3, 64, 64], and are made numbers where a network reads them."""
    parts = []
    for part in ("train", "valid", "test"):
        x, y, other = (data[f"{part}_{name}"] for name in ("x", "y", attribute))
        if part == "train" and len(y) > most:
            chosen = np.sort(rng.permutation(len(y))[:most])
            x, y, other = x[chosen], y[chosen], other[chosen]
        columns = (y, 2 * y + other, rare(y, other), other, np.zeros(len(y)))
        parts.append(Sample(torch.from_numpy(np.ascontiguousarray(x)), *map(_integers, columns)))
    return Population(*parts, groups)


def acsincome(data: Mapping[str, np.ndarray], most: int, rng: np.random.Generator) -> Population:
    """Working people, white or black alone; the label is an income over 50,000 dollars, and race is no input.

    Half of them train, ``most`` at most, a quarter chooses and a quarter is tested, ``2 * most`` at most each. Age,
    schooling and hours are quantities. All else are codes, whose numbers mean nothing: each that at least one in a
    hundred of the training people have is a feature of its own, 0 or 1.
    """
    rows = rng.permutation(np.flatnonzero(data["RAC1P"] <= 2))
    half, quarter = len(rows) // 2, len(rows) // 4
    train, valid, test = np.split(rows, [half, half + quarter])
    train, valid, test = train[:most], valid[: 2 * most], test[: 2 * most]
    known = np.stack([data[name] for name in ("AGEP", "SCHL", "WKHP")], 1).astype(np.float32)
    known = (known - known[train].mean(0)) / np.maximum(known[train].std(0), 1e-6)
    features = [known]
    for name in ("COW", "MAR", "OCCP", "POBP", "RELP", "SEX"):
        codes, counts = np.unique(data[name][train], return_counts=True)
        frequent = codes[100 * counts >= len(train)]
        features.append((data[name][:, None] == frequent).astype(np.float32))
    x, y, black = np.concatenate(features, 1), data["y"], data["RAC1P"] == 2
    columns = (y, 2 * black + y, black, black, np.zeros(len(y)))
    everyone = Sample(torch.from_numpy(x), *map(_integers, columns))
    return Population(*(everyone[torch.from_numpy(part)] for part in (train, valid, test)), INCOME_GROUPS)


def _integers(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values).astype(np.int64))
