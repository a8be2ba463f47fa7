"""An experiment's parameters: the annotated fields of its frozen dataclass, typed, ranged and set from outside.

A value arrives as text (command line) or as a plain value (TOML, a preset, Python); both end up as the field's own
type or as a :class:`ParameterError` that says what was given and what was expected.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from dlbench.errors import ParameterError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Between:
    """low <= value <= high; for a tuple, each element."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"between {self.low:g} and {self.high:g}"

    def allows(self, value: Any) -> bool:
        """Whether the value lies inside (NaN does not)."""
        return bool(self.low <= value <= self.high)


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of the options; for a tuple, each element."""

    options: tuple[Any, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(str(option) for option in self.options)

    def allows(self, value: Any) -> bool:
        """Whether the value is among the options."""
        return value in self.options


def between(low: float, high: float, *, default: Any) -> Any:
    """Give a parameter a range, which holds for each element of a tuple.

    ::

        width: int = between(8, 4096, default=64)
    """
    return dataclasses.field(default=default, metadata={"check": Between(low, high)})


def one_of(*options: Any, default: Any) -> Any:
    """A parameter with a fixed set of values; for a tuple it holds for each element."""
    return dataclasses.field(default=default, metadata={"check": OneOf(options)})


# ---------------------------------------------------------------------------------------------------- from outside


def configure(experiment: type[Any], values: Mapping[str, Any], *, name: str, source: str = "") -> dict[str, Any]:
    """Check values against the experiment's fields and return them in the fields' own types.

    Args:
        experiment: the dataclass whose fields are the parameters.
        values: parameter name → text (parsed by the field's type) or a plain value (checked against it).
        name: how the experiment is called in messages.
        source: where the values come from, for messages (a file's name, ``--set``).
    """
    fields = {field.name: field for field in dataclasses.fields(experiment)}
    hints = typing.get_type_hints(experiment)
    out = {}
    for key, value in values.items():
        where = f"{name}.{key}" + (f" ({source})" if source else "")
        if key not in fields:
            raise ParameterError(f"{where}: there is no such parameter{did_you_mean(key, fields)}")
        out[key] = checked(value, hints[key], fields[key].metadata.get("check"), where)
    return out


def validate(experiment: Any) -> None:
    """Check the fields of an instance, what its class's ``__post_init__`` calls, with :func:`configure`'s messages."""
    hints = typing.get_type_hints(type(experiment))
    for field in dataclasses.fields(experiment):
        where = f"{type(experiment).__name__}.{field.name}"
        value = checked(getattr(experiment, field.name), hints[field.name], field.metadata.get("check"), where)
        object.__setattr__(experiment, field.name, value)


def checked(value: Any, hint: Any, check: Between | OneOf | None, where: str) -> Any:
    """The value in the hinted type and inside its range, or a ParameterError."""
    try:
        converted = convert(value, hint)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        expected = type_name(hint) + (f" {check}" if check else "")
        raise ParameterError(f"{where}: {value!r} is not {expected}") from None
    elements = converted if isinstance(converted, tuple) else (converted,)
    for element in elements:
        if check is not None and element is not None and not check.allows(element):
            what = f"{element!r} is not" if element is converted else f"{element!r} in {converted!r} is not"
            raise ParameterError(f"{where}: {what} {check}")
    return converted


def convert(value: Any, hint: Any) -> Any:
    """Text or a plain value into the hinted type; ValueError or TypeError if it does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # only `T | None` is supported
        inner = [a for a in arguments if a is not type(None)]
        if len(inner) != 1 or len(arguments) != 2:
            raise TypeError(hint)
        return None if value is None or value in ("none", "None", "") else convert(value, inner[0])
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(value)
        return value
    if origin is tuple:
        parts = [p.strip() for p in value.split(",") if p.strip()] if isinstance(value, str) else list(value)
        hints = [arguments[0]] * len(parts) if arguments[-1] is Ellipsis else list(arguments)
        if len(hints) != len(parts):
            raise ValueError(value)
        return tuple(convert(part, one) for part, one in zip(parts, hints, strict=True))
    if hint is bool:
        if isinstance(value, bool):
            return value
        word = _text(value).lower()
        if word not in _BOOLEANS:
            raise ValueError(value)
        return _BOOLEANS[word]
    if hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return int(_text(value))
    if hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
        else:  # the field writes eps as 8/255
            numerator, slash, denominator = _text(value).partition("/")
            number = float(numerator) / float(denominator) if slash else float(numerator)
        if math.isnan(number):
            raise ValueError(value)
        return number
    if hint is str:
        return _text(value)
    raise TypeError(hint)


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "text"}


def type_name(hint: Any) -> str:
    """A type as a user would call it: 'an integer', 'a list of numbers'."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if a is type(None) else type_name(a) for a in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a comma-separated list, each {type_name(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} comma-separated values"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def describe(experiment: type[Any]) -> list[dict[str, Any]]:
    """Each parameter as name, type, default and range, for ``dlbench show``."""
    hints = typing.get_type_hints(experiment)
    return [
        {
            "name": field.name,
            "type": type_name(hints[field.name]),
            "default": field.default,
            "range": str(field.metadata["check"]) if "check" in field.metadata else "",
        }
        for field in dataclasses.fields(experiment)
    ]
