"""Data sets by name: where their files lie, how they are read, and a fingerprint of what was read.

A data set is registered through the entry-point group ``dlbench.datasets``. Real data is read from the folder that
``DLBENCH_DATA`` names, in the layout of its publishers; nothing is downloaded unless a loader says so. What is needed
and not there raises :class:`~dlbench.errors.DataMissing`, which says what to put where; the trial is then skipped.

A path may stand for a name: :mod:`dlbench.data.own` reads what users have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlbench.errors import DataMissing, PluginError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Dataset:
    """A named data set.

    Args:
        files: the files it reads (under ``root()``, or in an installed package); they are what is fingerprinted.
        read: reads those files and returns named arrays.
        about: what it is, where it comes from, and how to get it, in one or two lines.
        within: a folder; in the fingerprint the files are then named by where they lie in it, and not by name alone.
    """

    files: Callable[[], Sequence[Path]]
    read: Callable[[], Mapping[str, np.ndarray]]
    about: str
    within: Path | None = None

    def load(self) -> Mapping[str, np.ndarray]:
        """The arrays, or DataMissing naming the first file that is not there."""
        self.present()
        return self.read()

    def present(self) -> Sequence[Path]:
        """The files, all of which exist, or DataMissing."""
        files = self.files()
        for path in files:
            if not path.is_file():
                raise DataMissing(f"{path} is not there. {self.about}")
        return files

    def fingerprint(self) -> str:
        """sha256 over the files' names and contents."""
        from dlbench.data import fingerprints

        return fingerprints.of_files(self.present(), self.within)


def root() -> Path:
    """The folder that ``DLBENCH_DATA`` names."""
    named = os.environ.get("DLBENCH_DATA", "")
    if not named:
        raise DataMissing("real data is read from the folder that the environment variable DLBENCH_DATA names; set it")
    return Path(named)


def get(name: str) -> Dataset:
    """A data set by its registered name, or by a path to the user's own, as :mod:`dlbench.data.own` has it."""
    from dlbench import plugins
    from dlbench.data.own.spec import is_path

    if is_path(name):
        from dlbench.data import own

        return own.opened(name)

    try:
        dataset = plugins.load(plugins.DATASETS, name)
    except PluginError as error:
        if Path(name.partition("?")[0]).exists():
            raise PluginError(f"{error}; to read what lies here, say ./{name}") from None
        raise
    if not isinstance(dataset, Dataset):
        raise TypeError(f"the entry point {name!r} of {plugins.DATASETS} is a {type(dataset).__name__}, not a Dataset")
    return dataset


def load(name: str) -> Mapping[str, np.ndarray]:
    """The arrays of a data set, by its registered name or its path."""
    return get(name).load()
