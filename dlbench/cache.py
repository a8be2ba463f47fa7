"""Where dlbench keeps what it can make again: compiled operators, trained reference models."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$DLBENCH_CACHE``, or ``dlbench`` in the user's cache folder.

    Raises:
        OSError: the user has no home, as happens in containers.
    """
    try:
        if own := os.environ.get("DLBENCH_CACHE"):
            return Path(own).expanduser().absolute()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlbench"
    except RuntimeError as error:
        raise OSError(str(error)) from error
