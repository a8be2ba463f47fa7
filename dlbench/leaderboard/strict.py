"""JSON from strangers: what is ambiguous, or larger than any bundle needs, is refused.

Numbers that JSON does not have are texts, ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, and only where a number of a
metric stands: :func:`plain` writes them, :func:`number` reads them.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

DEEPEST = 32
_DIGITS = 19  # of a whole number of 64 bits
_UNPRINTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_BEYOND = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class NotStrict(ValueError):
    """What is wrong with a document, in one line."""


def loads(data: bytes) -> Any:
    """The value of a strict JSON document; NotStrict where it is none."""
    if data[:3] == b"\xef\xbb\xbf" or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise NotStrict("it begins with a byte order mark; write UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrict(f"it is not UTF-8 (byte {error.start})") from None
    fraction = _fraction if _may_overflow(data) else None  # a call for each of a million numbers is seconds
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_whole, parse_float=fraction
        )
    except json.JSONDecodeError as error:
        raise NotStrict(f"it is no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotStrict(f"it is nested more than {DEEPEST} deep") from None
    _check_depth(value)
    if b"\\u" in data or data.translate(None, _PLAIN_TEXT):
        _check_texts(value)
    return value


_PLAIN_TEXT = bytes([9, 10, *range(32, 127)])
_AS_ZEROS = bytes.maketrans(b"123456789E", b"000000000e")


def _may_overflow(data: bytes) -> bool:
    """Whether a number could be beyond what floats hold: it has an exponent of three digits, or 300 digits."""
    zeros = data.translate(_AS_ZEROS)
    return any(sign in zeros for sign in (b"e000", b"e+000", b"0" * 300))


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return
    raise NotStrict(f"it is nested more than {DEEPEST} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotStrict(f"it has {twice[:64]!r} twice in one object")
    return made


def _constant(text: str) -> Any:
    raise NotStrict(f'it has {text}, which is no JSON number; write "{text}" where a metric has none')


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > _DIGITS or not -(2**63) <= int(text) < 2**63:
        raise NotStrict(f"it has a whole number of {len(text)} digits; expected at most 64 bits")
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotStrict(f"it has the number {text[:32]}, which no float holds")
    return value


def _check_texts(value: Any) -> None:
    """NotStrict if a text holds what a reader would not see: control characters, surrogates, changes of direction."""
    if isinstance(value, str):
        if found := _UNPRINTED.search(value):
            raise NotStrict(f"it has the character {found[0]!a} in a text")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_texts(name)
            _check_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_texts(inner)


def plain(value: Any) -> Any:
    """A value with numbers that JSON does not have as their texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def dumps(value: Any, *, indent: int | None = None) -> bytes:
    """Canonical JSON: sorted, ASCII, without numbers that JSON does not have."""
    return json.dumps(plain(value), sort_keys=True, indent=indent, allow_nan=False).encode() + b"\n"


def number(value: Any) -> float:
    """A number, or one of the three texts; NotStrict for anything else."""
    if isinstance(value, str) and value in _BEYOND:
        return _BEYOND[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotStrict(f"{str(value)[:32]!r} is no number")
    return float(value)
