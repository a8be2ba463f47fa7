"""Images, features and labels in the forms that people keep them in, brought to the one form that all audits read."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data.on_demand import OnDemand
from dlbench.errors import DataDamaged, ParameterError

HELD = 2**30  # bytes of float32; images that take more stay bytes, and become floats a part at a time
CHANNELS = (1, 3, 4)
SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
ROLES = {
    "x": ("x", "images", "image", "data"),
    "y": ("y", "labels", "label", "targets", "target"),
    "groups": ("groups", "group"),
}
WORDS = {word: role for role, words in ROLES.items() for word in words}
BESIDE = ("classes", "features")  # keys that belong to no split

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Images or features of one split, as float32, its labels as they were found, and to which group each belongs."""

    x: NDArray[np.float32] | OnDemand
    y: NDArray[Any]
    groups: NDArray[np.str_] | None = None


# ---------------------------------------------------------------------------------------------------- named arrays


def from_names(named: Mapping[str, NDArray[Any]], where: object, layout: str | None = None) -> Arrays:
    """The arrays of a file that names them: ``x, y``, or ``train_x, …, test_y``, or ``x_train, …`` as Keras has it.

    Args:
        named: ``images`` or ``data`` may stand for x, ``labels`` or ``targets`` for y, ``val`` for test; ``groups``,
            ``classes`` and ``features`` are optional.
        where: they come from, for messages.
        layout: ``chw`` or ``hwc`` where the shape does not tell.

    Raises:
        DataDamaged: an array is not there, of the wrong kind, or longer than another.
        ParameterError: the shape does not tell which axis the channels are.
    """
    found: dict[str, dict[str, str]] = {}
    strange = []
    for key in named:
        split, role = _meaning(key)
        if not role:
            strange += [key] if key.lower() not in BESIDE else []
        elif role in found.setdefault(split, {}):
            raise DataDamaged(f"{where} has both {found[split][role]!r} and {key!r} for {role}; keep one")
        else:
            found[split][role] = key
    notes = [f"{', '.join(map(repr, strange))} not read: not among the names that are known"] if strange else []
    if not any("x" in keys for keys in found.values()):
        raise DataDamaged(f"{where} has no x{_almost(strange)}; its keys: {some(named)}; expected x and y, or {_FOUR}")
    parts = {}
    for split, keys in found.items():
        if absent := [role for role in ("x", "y") if role not in keys]:
            name = f"{split}_{absent[0]}" if split else absent[0]
            raise DataDamaged(f"{where} has no {name} for its {some(keys.values())}{_almost(strange)}")
        x, turned = features_or_images(named[keys["x"]], f"{where}: {keys['x']}", layout)
        notes += turned
        groups = text(named[keys["groups"]], f"{where}: {keys['groups']}") if "groups" in keys else None
        parts[split] = Part(x, np.asarray(named[keys["y"]]), groups)
    beside = {key.lower(): text(named[key], f"{where}: {key}").tolist() for key in named if key.lower() in BESIDE}
    return arranged(parts, where, beside.get("classes"), beside.get("features"), notes)


_FOUR = "train_x, train_y, test_x, test_y"


def _meaning(key: str) -> tuple[str, str]:
    """The split ('' for none) and the role ('' for an unknown one) that a name stands for."""
    words = key.lower()
    parts = re.split("[_-]", words)
    for split, word in (parts, parts[::-1]) if len(parts) == 2 else ():
        if split in SPLITS and word in WORDS:
            return SPLITS[split], WORDS[word]
    return "", WORDS.get(words, "")


def _almost(strange: Iterable[str]) -> str:
    """What a misspelt name may have been meant to be."""
    known = [*WORDS, *(f"{split}_{word}" for split in SPLITS for word in WORDS)]
    known += [f"{word}_{split}" for split in SPLITS for word in WORDS]
    for key in strange:
        if close := difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.75):
            return f"; did you mean {close[0]!r} by {key!r}?"
    return ""


def some(names: Iterable[str], most: int = 10) -> str:
    """Names for a message: the first ones, and how many there are if that is not all."""
    every = [str(name) for name in names]
    return ", ".join(every[:most]) + (f", … ({len(every):,} in all)" if len(every) > most else "") or "none"


# -------------------------------------------------------------------------------------------------- one form for all


def arranged(
    parts: Mapping[str, Part],
    where: object,
    classes: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> Arrays:
    """The arrays that a data set's ``read`` gives, of parts by the names of their splits ('' for none).

    Where there is a part to train and one to test (``val`` serves where there is no ``test``), their arrays have
    ``train_`` and ``test_`` before their names; otherwise all there is tests, without a prefix.
    """
    parts, notes = dict(parts), list(notes)
    for name, part in parts.items():
        _same_length(name, part, where)
    if "" in parts and len(parts) > 1:
        raise DataDamaged(f"{where} has x and y beside those of {some(name for name in parts if name)}; keep either")
    if "test" in parts and parts.pop("val", None) is not None:
        notes.append("the validation part is not read, as there is a test part")
    elif "val" in parts:
        parts["test"] = parts.pop("val")
        notes.append("the validation part tests, as there is no test part")
    if len(parts) == 1:
        if "train" in parts:
            notes.append("there is only a training part, all of which tests")
        parts = {"": next(iter(parts.values()))}
    shapes = {name: part.x.shape[1:] for name, part in parts.items()}
    if len(set(shapes.values())) > 1:
        raise DataDamaged(
            f"{where} trains on {list(shapes['train'])} and tests on {list(shapes['test'])}; give both one"
        )
    labels, names = numbered({name: part.y for name, part in parts.items()}, where, classes)
    arrays: Arrays = {}
    for name, part in parts.items():
        prefix = f"{name}_" if name else ""
        arrays |= {f"{prefix}x": part.x, f"{prefix}y": labels[name]}
        arrays |= {f"{prefix}groups": part.groups} if part.groups is not None else {}
    if names is not None and all(name.isdecimal() for name in names) and sorted(names, key=int) != list(names):
        notes.append(
            f"the classes are named by numbers, in the order of text, as torchvision has folders: {some(names, 4)}"
        )
    beside = {"classes": names, "features": features, "notes": notes or None}
    return arrays | {name: np.asarray(texts, np.str_) for name, texts in beside.items() if texts is not None}


def _same_length(name: str, part: Part, where: object) -> None:
    prefix = f"{name}_" if name else ""
    for other, values in (("y", part.y), ("groups", part.groups)):
        if values is not None and values.shape[:1] != part.x.shape[:1]:
            length = len(values) if values.ndim else "a single"
            raise DataDamaged(
                f"{where} has {len(part.x):,} {prefix}x and {length} {prefix}{other}; expected one for each"
            )
    if not len(part.x):
        raise DataDamaged(f"{where} has no rows in {prefix}x")


# ----------------------------------------------------------------------------------------------- features and images


def features_or_images(
    x: NDArray[Any], where: object, layout: str | None = None
) -> tuple[NDArray[np.float32] | OnDemand, list[str]]:
    """Features [n, d] as float32 [n, d], or images as float32 [n, c, h, w] in [0, 1], and what was done to them.

    Args:
        x: numbers [n, d], or images [n, h, w], [n, c, h, w] or [n, h, w, c]: uint8 0 to 255, or floats in [0, 1].
        where: they come from, for messages.
        layout: ``chw`` or ``hwc`` where the shape does not tell.

    Raises:
        DataDamaged: another dtype, number of axes or range.
        ParameterError: the shape does not tell which axis the channels are.
    """
    x = np.asarray(x)
    if layout not in (None, "chw", "hwc"):
        raise ParameterError(f"{where}: layout is {layout!r}; expected chw or hwc")
    if x.dtype.kind not in "biuf":
        raise DataDamaged(f"{where} is {x.dtype} {list(x.shape)}; expected numbers")
    if 0 in x.shape[1:]:
        raise DataDamaged(f"{where} has the shape {list(x.shape)}: there is nothing in its rows")
    if x.ndim == 2:
        return x.astype(np.float32, copy=False), []
    if x.ndim not in (3, 4):
        raise DataDamaged(
            f"{where} has the shape {list(x.shape)}; expected images [n, h, w], [n, c, h, w] or [n, h, w, c], "
            "or features [n, d]"
        )
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataDamaged(f"{where} is {x.dtype}; expected images as uint8 from 0 to 255, or as floats in [0, 1]")
    turn = x.ndim == 4 and _channels_last(x.shape, where, layout)
    images = x[:, None] if x.ndim == 3 else np.moveaxis(x, 3, 1) if turn else x
    notes = [f"images [n, h, w, c] turned to [n, c, h, w]: {list(x.shape)} to {list(images.shape)}"] if turn else []
    if x.dtype == np.uint8:
        return of_bytes(images), notes
    if problem := out_of_range(x):
        raise DataDamaged(f"{where} holds {problem}")
    return np.ascontiguousarray(images, np.float32), notes


def _channels_last(shape: Sequence[int], where: object, layout: str | None) -> bool:
    if layout:
        return layout == "hwc"
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first == last:
        why = "either axis may be the channels" if first else "no axis has the 1, 3 or 4 entries that channels have"
        raise ParameterError(f"{where} has the shape {list(shape)}: {why}; say ?layout=chw or ?layout=hwc")
    return last


def out_of_range(x: NDArray[Any]) -> str:
    """What is wrong with the range of images that should lie in [0, 1], and what to do; '' where nothing is."""
    if not x.size:
        return ""
    flat = x.reshape(-1)  # NaN, which fmin and fmax pass over, is not a matter of range
    low, high = float(np.fmin.reduce(flat)), float(np.fmax.reduce(flat))
    if math.isinf(low) or math.isinf(high):  # nor is what is infinite
        return out_of_range(flat[np.isfinite(flat)])
    if not (low < 0 or high > 1):
        return ""
    found = f"values from {low:.4g} to {high:.4g}; expected [0, 1]"
    if low < 0:
        return f"{found}: undo the normalisation, or bring it to [0, 1], and give mean and sd of the model's instead"
    return f"{found}: save them as uint8, or divide by {'255' if high <= 255 else 'the largest value that can be'}"


def of_bytes(images: NDArray[np.uint8]) -> NDArray[np.float32] | OnDemand:
    """Images of bytes [n, c, h, w] as float32 in [0, 1]; where that takes more than HELD, a part at a time."""

    def make(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.divide(images[rows], np.float32(255), dtype=np.float32, order="C")

    if images.size * 4 > HELD:
        return OnDemand(make, images.shape, lambda: row_digests(images))
    return np.divide(images, np.float32(255), dtype=np.float32, order="C")


def row_digests(x: NDArray[Any]) -> list[bytes]:
    """A digest of each row's bytes."""
    return [hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest() for row in x]


# ------------------------------------------------------------------------------------------------------------ labels


def numbered(
    labels: Mapping[str, NDArray[Any]], where: object, classes: Sequence[str] | None = None
) -> tuple[dict[str, NDArray[np.int64]], Sequence[str] | None]:
    """Labels as class numbers, int64 [n], and the classes' names where there are any.

    Numbers stay what they are; text is numbered in the order of ``classes``, or alphabetically.

    Raises:
        DataDamaged: they are neither whole numbers nor text, have more than one axis, or a class is not in ``classes``.
    """
    labels = {name: _one_axis(np.asarray(y), name, where) for name, y in labels.items()}
    kinds = {y.dtype.kind for y in labels.values()}
    if not kinds & {"U", "S"}:
        return {name: y.astype(np.int64) for name, y in labels.items()}, classes
    if kinds - {"U", "S"}:
        raise DataDamaged(f"{where} has labels that are text in one part and numbers in another; give both the same")
    texts = {name: y.astype(np.str_) for name, y in labels.items()}
    found = np.unique(np.concatenate(list(texts.values())))
    names = list(found) if classes is None else list(classes)
    if strange := [str(name) for name in found if name not in set(names)]:
        raise DataDamaged(f"{where} has labels {some(map(repr, strange))} that are not among its classes")
    number = {name: i for i, name in enumerate(names)}
    return {name: np.array([number[str(label)] for label in y], np.int64) for name, y in texts.items()}, names


def _one_axis(y: NDArray[Any], name: str, where: object) -> NDArray[Any]:
    which = f"{where}: {name}_y" if name else f"{where}: y"
    y = as_text(y)
    if y.ndim == 2 and y.shape[1] == 1:  # as Keras has CIFAR-10
        y = y[:, 0]
    if y.ndim != 1:
        raise DataDamaged(f"{which} has the shape {list(y.shape)}; expected [n], the number of each one's class "
                          "(np.argmax(y, axis=1) of one-hot rows)")  # fmt: skip
    if y.dtype.kind not in "biuUS":
        raise DataDamaged(f"{which} is {y.dtype}; expected whole numbers 0 to k-1, or the classes' names as text")
    return y


def as_text(array: NDArray[Any]) -> NDArray[Any]:
    """An array of Python's texts, as pandas has them, as one of numpy's; any other as it is."""
    if array.dtype == object and all(isinstance(value, str) for value in array.ravel()):
        return array.astype(np.str_)
    return array


def text(values: Any, where: object) -> NDArray[np.str_]:
    """Names as text [n]: text and whole numbers are; DataDamaged otherwise."""
    array: NDArray[Any] = as_text(np.asarray(values))
    if array.ndim != 1 or array.dtype.kind not in "biuUS":
        raise DataDamaged(f"{where} is {array.dtype} {list(array.shape)}; expected text or whole numbers [n]")
    return array.astype(np.str_)
