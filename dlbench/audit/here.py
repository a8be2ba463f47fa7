"""A model that is handed over in Python, under an import path, so that audits can name it like any other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from torch import nn

_handed: ContextVar[nn.Module] = ContextVar("handed")

PATH = f"{__name__}:model"


@contextlib.contextmanager
def handed(net: nn.Module) -> Iterator[None]:
    """Within the ``with`` block, :data:`PATH` is the path of this model."""
    token = _handed.set(net)
    try:
        yield
    finally:
        _handed.reset(token)


def model() -> nn.Module:
    """The model that was handed over."""
    return _handed.get()
