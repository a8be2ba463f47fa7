"""A path and how to read it, in one text: ``PATH`` or ``PATH?option=value&option=value``.

The part behind the first ``?`` is the query of a URL: ``+`` or ``%20`` is a blank in a value, ``%26`` an ampersand. The
path is taken as it stands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from dlbench.errors import ParameterError, did_you_mean

ARRAYS = (".npz",)
TENSORS = (".pt", ".pth", ".safetensors")
TABLES = (".csv", ".csv.gz", ".parquet")
SUFFIXES = (*ARRAYS, *TENSORS, *TABLES)


@dataclass(frozen=True)
class Spec:
    """Where data lies, and the options with which it is to be read."""

    path: Path
    options: Mapping[str, str]

    def checked(self, known: Sequence[str]) -> Spec:
        """The same, or a ParameterError that names the option which this kind of data does not have."""
        for name in self.options:
            if name not in known:
                hint = did_you_mean(name, known) if known else "; there are none to give"
                raise ParameterError(f"{self.path} is read without an option {name!r}{hint}")
        return self

    def columns(self, option: str) -> list[str]:
        """The names that an option lists, separated by commas; none where it is not given."""
        return [name for name in self.options.get(option, "").split(",") if name]

    def size(self) -> tuple[int, int] | None:
        """Height and width of ``size=HxW``, if that is given."""
        if "size" not in self.options:
            return None
        found = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", self.options["size"])
        if not found:
            raise ParameterError(
                f"{self.path}: size is {self.options['size']!r}; expected HxW in pixels, as in 224x224"
            )
        return int(found[1]), int(found[2])


def is_path(name: str) -> bool:
    """Whether a data set's name is a path: it holds a ``/`` or has the suffix of a file that can be read."""
    path = name.partition("?")[0]
    return "/" in path or path.lower().endswith(SUFFIXES)


def parsed(name: str) -> Spec:
    """A path and its options; ParameterError where that behind the ``?`` is not ``option=value&option=value``."""
    path, _, query = name.partition("?")
    if not path:
        raise ParameterError(f"{name!r} names no path; expected PATH or PATH?option=value")
    try:
        pairs = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
        if not all(key and value for key, value in pairs):
            raise ValueError
    except ValueError:
        raise ParameterError(
            f"{name!r}: {query!r} is not of the form option=value&option=value, with a value for each"
        ) from None
    options = dict(pairs)
    if len(options) < len(pairs):
        twice = next(key for key, _ in pairs if sum(other == key for other, _ in pairs) > 1)
        raise ParameterError(f"{name!r} gives {twice!r} twice; separate several columns by commas")
    return Spec(Path(path).expanduser(), options)


def absolute(name: str) -> str:
    """The same, with a path that does not depend on the working folder."""
    path, mark, query = name.partition("?")
    return f"{os.path.abspath(os.path.expanduser(path))}{mark}{query}"  # noqa: PTH100, PTH111 - `..` goes, links stay
