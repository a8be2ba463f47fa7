"""What is wrong with a data set, found before anything is computed from it.

An *error* is what no audit can be run on, a *warning* what makes its numbers mean less than they seem to, a *note* what
is good to know. What is in memory is looked at as a whole; of images that are decoded on demand, LOOKED of them, evenly
spaced, and all of their files where duplicates are sought.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dlbench.data.on_demand import OnDemand
from dlbench.data.own.arrays import out_of_range, row_digests, some

LOOKED = 1_000  # images, of those that are decoded on demand
FEW_TESTS = 200
FEW_OF_A_CLASS = 20
FEW_OF_A_GROUP = 50
DARK = 0.1  # a set of images that nowhere comes near 1 was of other numbers than it was taken for
IMBALANCE = 10  # the largest class over the smallest
BLOCK = 2**22  # numbers that are looked at together

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that is to be said of a data set, in a line with its numbers."""

    severity: Severity
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"


def findings(arrays: Mapping[str, Any]) -> list[Finding]:
    """All there is to say of a data set's arrays, errors first.

    Args:
        arrays: as a data set's ``read`` gives them: ``x, y`` or ``train_x, train_y, test_x, test_y``; ``classes``,
            ``groups``, ``features`` and ``notes`` where there are.
    """
    parts = _parts(arrays)
    if problems := list(_misshapen(parts)):
        return problems
    classes = [str(name) for name in arrays["classes"]] if "classes" in arrays else None
    features = [str(name) for name in arrays["features"]] if "features" in arrays else None
    seen = {name: _seen(part.x) for name, part in parts.items()}
    found = [
        *(finding for name in parts for finding in _values(name, seen[name], features)),
        *_labels(parts, classes),
        *(finding for name in parts for finding in _constants(name, seen[name], features)),
        *_leaks(parts, features),
        *_twins(parts, seen),
        *_tests(parts, classes),
        *_groups(arrays),
        *(Finding("note", str(note)) for note in arrays.get("notes", ())),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


# ------------------------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True)
class _Part:
    x: Any
    y: NDArray[Any]
    prefix: str


def _parts(arrays: Mapping[str, Any]) -> dict[str, _Part]:
    """What trains, if anything does, and what tests."""
    prefixes = {"train": "train_", "test": "test_"} if "test_x" in arrays else {"test": ""}
    return {
        name: _Part(arrays[f"{prefix}x"], np.asarray(arrays[f"{prefix}y"]), prefix)
        for name, prefix in prefixes.items()
        if f"{prefix}x" in arrays and f"{prefix}y" in arrays
    }


def _misshapen(parts: Mapping[str, _Part]) -> Iterator[Finding]:
    if "test" not in parts:
        yield Finding("error", "there is nothing to test on: neither x and y nor test_x and test_y")
    for part in parts.values():
        x, y = f"{part.prefix}x", f"{part.prefix}y"
        if part.x.ndim not in (2, 3, 4) or not len(part.x):
            yield Finding(
                "error", f"{x} has the shape {list(part.x.shape)}; expected images [n, c, h, w] or features [n, d]"
            )
        if part.x.dtype.kind not in "biuf":
            yield Finding("error", f"{x} is {part.x.dtype}; expected numbers")
        if part.y.dtype.kind not in "biu":
            yield Finding("error", f"{y} is {part.y.dtype}; expected class numbers, as only classes are audited")
        if part.y.shape != (len(part.x),):
            yield Finding(
                "error", f"{y} has the shape {list(part.y.shape)} for {len(part.x):,} {x}; expected one label each"
            )


# ------------------------------------------------------------------------------------------------------------ values


@dataclass(frozen=True)
class _Seen:
    """Of one part: what was looked at, which is [k, …], k of n, and which of its rows are constant or not finite."""

    x: NDArray[Any]
    of: int
    lost: NDArray[np.bool_]  # [k], or for a table [k, d]
    constant: NDArray[np.bool_]  # [k], or for a table [d]

    @property
    def images(self) -> bool:
        return self.x.ndim > 2

    def count(self, number: int) -> str:
        """A number of rows, of all or of those that were looked at."""
        looked = f"{len(self.x):,} looked at" if len(self.x) < self.of else f"{self.of:,}"
        return f"{number:,} of {looked}"


def _seen(x: Any) -> _Seen:
    if isinstance(x, OnDemand):
        looked = x[np.unique(np.linspace(0, len(x) - 1, min(LOOKED, len(x))).astype(int))]
    else:
        looked = np.asarray(x)
    if looked.ndim == 2:
        lost = ~np.isfinite(looked)
        return _Seen(looked, len(x), lost, _single(np.where(lost, np.nan, looked)))
    rows = looked.reshape(len(looked), -1)
    step = max(1, BLOCK // max(1, rows.shape[1]))
    blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
    with np.errstate(invalid="ignore"):
        low = np.concatenate([block.min(1) for block in blocks])  # NaN where there is one, and -inf
        high = np.concatenate([block.max(1) for block in blocks])
    return _Seen(looked, len(x), ~(np.isfinite(low) & np.isfinite(high)), low == high)


def _single(columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Which columns have a single value, beside NaN."""
    single: NDArray[np.bool_] = np.fmin.reduce(columns, axis=0) == np.fmax.reduce(columns, axis=0)
    return single


def _values(name: str, seen: _Seen, features: Sequence[str] | None) -> Iterator[Finding]:
    """NaN and infinite values, and those beyond the range of images."""
    if seen.images:
        if lost := int(seen.lost.sum()):
            yield Finding("error", f"{name}: NaN or infinite values in {seen.count(lost)} images")
        if seen.x.dtype == np.uint8:  # as some registered sets keep them
            return
        if problem := out_of_range(seen.x):
            yield Finding("error", f"{name}: images with {problem}")
        elif not seen.lost.any() and 0 < (high := float(seen.x.max())) < DARK:
            yield Finding(
                "warning", f"{name}: the largest value of all images is {high:.4g}; were they of another range?"
            )
        return
    lost_in = seen.lost.sum(0)
    if lost_in.any():
        columns = [f"{_column(i, features)}: {lost_in[i]:,}" for i in np.flatnonzero(lost_in).tolist()]
        rows = int(seen.lost.any(1).sum())
        yield Finding(
            "error",
            f"{name}: NaN or infinite values in {seen.count(rows)} rows ({some(columns)}); fill them, or remove rows "
            "or columns",
        )


def _constants(name: str, seen: _Seen, features: Sequence[str] | None) -> Iterator[Finding]:
    """Images of one colour, and columns that tell nothing."""
    if seen.images:
        if constant := int(seen.constant.sum()):
            yield Finding("warning", f"{name}: images of one value throughout: {seen.count(constant)}")
    elif seen.constant.any() and len(seen.x) > 1:
        columns = [_column(i, features) for i in np.flatnonzero(seen.constant).tolist()]
        yield Finding("warning", f"{name}: columns with a single value: {some(columns)}")


# ------------------------------------------------------------------------------------------------------------ labels


def _labels(parts: Mapping[str, _Part], classes: Sequence[str] | None) -> Iterator[Finding]:
    """Class numbers that are not 0 to k-1."""
    labels = np.unique(np.concatenate([np.unique(part.y).astype(np.int64) for part in parts.values()]))
    if labels[0] < 0:
        below = [str(label) for label in labels[labels < 0]]
        count = sum(int((part.y < 0).sum()) for part in parts.values())
        yield Finding(
            "error", f"negative labels: {count:,} ({some(below)}); expected 0 to k-1: leave out what has no label"
        )
        return
    if classes is not None and labels[-1] >= len(classes):
        beyond = [str(label) for label in labels[labels >= len(classes)]]
        yield Finding("error", f"labels that no class is named for: {some(beyond)}; expected 0 to "
                               f"{len(classes) - 1}")  # fmt: skip
        return
    if len(labels) == 1:
        yield Finding("error", f"all labels are {_class(labels[0], classes)}: there is nothing to tell apart")
        return
    count = labels[-1] + 1 if classes is None else len(classes)
    if gaps := _ranges(np.setdiff1d(np.arange(count), labels, assume_unique=True)):
        first = "; are they numbered from 1?" if gaps[0] == "0" and len(gaps) == 1 else ""
        named = gaps if classes is None else [_class(i, classes) for i in np.setdiff1d(np.arange(count), labels)]
        yield Finding("warning", f"{len(labels):,} of the classes 0 to {count - 1} occur, but not {some(named)}{first}")


def _tests(parts: Mapping[str, _Part], classes: Sequence[str] | None) -> Iterator[Finding]:
    """Too few examples to test on, in all or of a class, classes of very different sizes, and unknown ones."""
    y = parts["test"].y
    if y.min() < 0:
        return
    present, counts = np.unique(y, return_counts=True)
    if len(y) < FEW_TESTS:
        yield Finding("warning", f"{len(y):,} examples to test on; below {FEW_TESTS} intervals are wide")
    few = [f"{_class(label, classes)}: {count:,}" for label, count in zip(present, counts, strict=True)
           if count < FEW_OF_A_CLASS]  # fmt: skip
    if few:
        yield Finding("warning", f"classes with fewer than {FEW_OF_A_CLASS} examples to test on: {some(few)}")
    for name, part in parts.items():
        labels, sizes = np.unique(part.y, return_counts=True)
        large, small = sizes.argmax(), sizes.argmin()
        if sizes[large] > IMBALANCE * sizes[small]:
            told = [f"{sizes[i]:,} of {_class(labels[i], classes)}" for i in (large, small)]
            yield Finding(
                "warning",
                f"{name}: classes of very different sizes, from {told[0]} to {told[1]}, "
                f"{sizes[large] / sizes[small]:.0f} to 1; look at balanced accuracy, too",
            )
    if "train" in parts and len(unknown := np.setdiff1d(present, parts["train"].y)):
        named = [_class(label, classes) for label in unknown]
        yield Finding("warning", f"classes to test on that are not in training: {some(named)}")


def _groups(arrays: Mapping[str, Any]) -> Iterator[Finding]:
    groups = arrays.get("test_groups", arrays.get("groups"))
    if groups is None:
        return
    names, counts = np.unique(np.asarray(groups), return_counts=True)
    if len(names) == 1:
        yield Finding("warning", f"all examples are of one group, {str(names[0])!r}: groups cannot be compared")
    few = [f"{str(name)!r}: {count:,}" for name, count in zip(names, counts, strict=True) if count < FEW_OF_A_GROUP]
    if few:
        yield Finding("warning", f"groups with fewer than {FEW_OF_A_GROUP} examples to test on: {some(few)}")


# ------------------------------------------------------------------------------------------------- leaks, duplicates


def _leaks(parts: Mapping[str, _Part], features: Sequence[str] | None) -> Iterator[Finding]:
    """Columns that give the target away, or number the rows."""
    part = parts["test"]
    if part.x.ndim != 2 or len(part.x) < 3:
        return
    x = np.asarray(part.x)
    _, labels = np.unique(part.y, return_inverse=True)
    kinds = labels.max() + 1
    steps = np.diff(x[: max(3, kinds + 2)], axis=0)
    for i in range(x.shape[1]):
        if (steps[:, i] == 1).all() and (np.diff(x[:, i]) == 1).all():
            yield Finding("warning", f"column {_column(i, features)} numbers the rows; drop it")
        elif kinds > 1 and _equals(x[:, i], labels, kinds):
            yield Finding("warning", f"column {_column(i, features)} tells the target: each of its values goes with "
                                     "one class, and each class with one value")  # fmt: skip


def _equals(column: NDArray[Any], labels: NDArray[Any], kinds: int) -> bool:
    """Whether a column is the target under other names: as many values, each with a class of its own."""
    _, first = np.unique(labels, return_index=True)
    values = column[first]
    return len(np.unique(values)) == kinds and bool((values[labels] == column).all())


def _twins(parts: Mapping[str, _Part], seen: Mapping[str, _Seen]) -> Iterator[Finding]:
    """Rows that are there twice, byte by byte, within a part and between them."""
    what = "images" if seen["test"].images else "rows"
    digests = {name: _digests(part.x) for name, part in parts.items()}
    for name, found in digests.items():
        twice = len(found) - len(set(found))
        if not twice:
            continue
        torn = _torn(found, parts[name].y)
        severity: Severity = "warning" if what == "images" and (name == "test" or torn) else "note"
        more = f", {torn:,} of them with another label" if torn else ""
        yield Finding(severity, f"{name}: {what} that are copies of earlier ones: {twice:,} of {len(found):,}{more}")
    if "train" in parts:
        known = set(digests["train"])
        if both := sum(digest in known for digest in digests["test"]):
            yield Finding(
                "warning", f"{what} to test on that are in training, too: {both:,} of {len(digests['test']):,}"
            )


def _digests(x: Any) -> Sequence[bytes]:
    return x.digests() if isinstance(x, OnDemand) else row_digests(np.asarray(x))


def _torn(digests: Iterable[bytes], labels: NDArray[Any]) -> int:
    """How many are copies of an earlier one with another label."""
    first: dict[bytes, Any] = {}
    return sum(first.setdefault(digest, label) != label for digest, label in zip(digests, labels.tolist(), strict=True))


# ------------------------------------------------------------------------------------------------------------- words


def _column(number: int, features: Sequence[str] | None) -> str:
    return repr(features[number]) if features else str(number)


def _class(label: Any, classes: Sequence[str] | None) -> str:
    return f"{label}" if classes is None or classes[label] == str(label) else f"{label} ({classes[label]})"


def _ranges(numbers: NDArray[np.int64]) -> list[str]:
    """Whole numbers in rising order, runs of them as ``3 to 7``."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs if len(run)]
