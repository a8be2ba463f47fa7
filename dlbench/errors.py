"""What can go wrong, as a tree.

DlbenchError
├── UsageError          the user asked for something that cannot be; one line, exit status 2
│   ├── ParameterError  an experiment's parameter: unknown, of the wrong type, out of range
│   ├── PluginError     a plugin that was asked for by name is missing, broken or clashes
│   └── RunFolderError  a run folder that cannot be used: foreign, newer, not writable
├── DataMissing         a data set is not where it should be; the trial is skipped, with this reason
├── NotApplicable       an audit asks what this model or data set has not; the trial is skipped, with this reason
├── DataDamaged         a data set is there and is not what it should be; the trial is an error
├── InvalidResult       an experiment yielded something that is not a measurement
└── StoreFull           the disk took no more; what was written stays
"""

from __future__ import annotations

from collections.abc import Iterable


class DlbenchError(Exception):
    """Base of all errors that dlbench raises on purpose."""


class UsageError(DlbenchError):
    """The user asked for something that cannot be done; the message is one clear line."""


class ParameterError(UsageError):
    """A parameter of an experiment is unknown, of the wrong type or out of range."""


class PluginError(UsageError):
    """A plugin that was asked for by name is missing, broken, or clashes with another."""


class RunFolderError(UsageError):
    """A run folder that cannot be used."""


class DataMissing(DlbenchError):
    """A data set is not where it should be."""


class NotApplicable(DlbenchError):
    """An audit asks for something that the model or the data set at hand does not have."""


class DataDamaged(DlbenchError):
    """A data set's file is there, and truncated, malformed or not to be trusted."""


class InvalidResult(DlbenchError):
    """An experiment yielded something that is not a measurement."""


class StoreFull(DlbenchError):
    """The disk took no more."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of an error message: the closest known name if there is one, and all of them if they are few."""
    import difflib  # a tenth of the time that the command line takes to answer

    known = sorted(known)
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if not known:
        return hint + " (there are none)"
    listing = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"{hint} (known: {listing})"
