"""Decides, once a process, what serves the operators: the extension built ahead of time, one built on first use, or the
reference in plain torch. Importing ``dlbench.ops`` does it, so that children of a fork inherit it and ``torch.compile``
always finds the operators.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dlbench.errors import UsageError
from dlbench.ops import recipe
from dlbench.ops.build import BuildError, Built, mismatch, obtain

NAMES = ("", "native", "reference")


class OpsError(UsageError):
    """The operators cannot be had in the way that ``DLBENCH_OPS`` demands."""


class OpsWarning(RuntimeWarning):
    """The operators work, but slowly."""


@dataclass(frozen=True)
class Status:
    """What serves the operators in this process, and why.

    Attributes:
        implementation: ``"native"`` or ``"reference"``.
        origin: ``"ahead of time"``, ``"built on first use"``, ``"temporary"``, or None for the reference.
        reason: why the reference serves; why a better origin did not; None where there is nothing to say.
        path: the library's file (which a temporary one no longer has).
        facts: compiler, architecture, parallel backend, torch version and source hash of the library.
        devices: device types with kernels of their own; others are served by the reference.
    """

    implementation: str
    origin: str | None = None
    reason: str | None = None
    path: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ()


_status: Status | None = None
_library: torch.library.Library | None = None  # what is registered from Python lives as long as this
_module: Any = None  # the extension, where it serves


def load() -> Status:
    """Loads the operators if that has not happened in this process, and returns what serves them.

    Raises:
        OpsError: ``DLBENCH_OPS`` is unknown, or ``native`` where there is no way to that.
    """
    global _status
    if _status is None:
        _status = _load(_wanted())
        if _status.implementation == "reference" and _wanted() != "reference":
            warnings.warn(
                f"dlbench: its operators run in plain torch, correct but slow, because {_status.reason}",
                OpsWarning,
                stacklevel=3,
            )
    return _status


def status() -> Status:
    """What serves the operators in this process, and why."""
    return load()


def bound(
    rowptr: torch.Tensor, col: torch.Tensor, edge_id: torch.Tensor | None, num_src: int, uneven: bool | None
) -> Any:
    """A graph as the extension keeps it, for the short way to its operators; None where the reference serves."""
    return _module and _module.BoundGraph(rowptr, col, edge_id, num_src, uneven)


def short_way(name: str) -> Any:
    """A function of the extension that does what an operator does, for the usual arguments; one that declines all where
    the reference serves.
    """
    load()
    return getattr(_module, name) if _module else lambda *_: False


def release_memory() -> int:
    """Gives back to the system what native operators on a CPU keep for outputs to come.

    To fault in the pages of a large output can take as long as to compute it, so blocks of 128 KiB and more are kept
    when their tensors are gone: at most twice as many bytes as outputs had in use at one time of late. Nobody else can
    use them meanwhile, so call this before something that needs the memory. Not under ``torch.compile``.

    Returns:
        how many bytes that were; 0 where the reference serves, which keeps nothing.
    """
    return int(_module.release_memory()) if _module else 0


def register(name: str, reference: Any, fake: Any = None) -> None:
    """The reference of an operator, for every device that has no kernel.

    One that comes with its fake has its derivatives in the extension. Without that, torch sees through the reference,
    which differentiates and traces it.
    """
    implementation = load().implementation
    if _library is None:
        return
    if fake is not None and implementation == "reference":
        _library.impl(name, reference, "CompositeImplicitAutograd")  # type: ignore[no-untyped-call]
        return
    _library.impl(name, reference, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    if fake is not None:
        torch.library.register_fake(f"dlbench::{name}", fake, lib=_library)


def schemas() -> list[str]:
    """The operators' schemas, as ``csrc/schema.inc`` has them."""
    root = recipe.sources_root()
    if root is None:
        raise OpsError("csrc/schema.inc is missing: this installation of dlbench is damaged; install it again")
    return re.findall(r'^OP\("(.+)"\)$', (root / "schema.inc").read_text(), re.MULTILINE)


def _wanted() -> str:
    wanted = os.environ.get("DLBENCH_OPS", "")
    if wanted not in NAMES:
        raise OpsError(f"DLBENCH_OPS={wanted!r} is unknown; give native, reference, or nothing")
    return wanted


def _load(wanted: str) -> Status:
    global _library
    if wanted == "reference":
        found = Status("reference", reason="DLBENCH_OPS=reference")
    else:
        found = _native(insist=wanted == "native")
    if found.implementation == "reference":
        if wanted == "native":
            raise OpsError(f"DLBENCH_OPS=native, but {found.reason}")
        _library = torch.library.Library("dlbench", "DEF")  # type: ignore[no-untyped-call]
        for schema in schemas():
            _library.define(schema)  # type: ignore[no-untyped-call]
    else:
        _library = torch.library.Library("dlbench", "IMPL")  # type: ignore[no-untyped-call]
    return found


def _native(insist: bool) -> Status:
    root = recipe.sources_root()
    if root is None:
        return Status("reference", reason="its sources (csrc) were not installed")
    try:
        identity = recipe.identity(root, with_cuda=recipe.nvcc(torch.version.cuda) is not None)
    except ValueError as error:
        raise OpsError(str(error)) from None
    passed_over = None
    try:
        ahead = recipe.HERE / recipe.LIBRARY
        if ahead.is_file():
            passed_over = _unfit(ahead, identity)
            if passed_over is None:
                return _opened(Built(ahead, "ahead of time"))
            passed_over = f"the library built ahead of time was passed over: {passed_over}"
        try:
            return _opened(obtain(root, identity, insist), passed_over)
        except BuildError as error:
            if not identity["with_cuda"]:
                raise
            without = f"there are no kernels for CUDA, because {error}"
            return _opened(obtain(root, identity | {"with_cuda": False}, insist), without)
    except BuildError as error:
        return Status("reference", reason=str(error))


def _unfit(ahead: Path, identity: recipe.Identity) -> str | None:
    """Why a library built ahead of time is not for this process. One for a named architecture fits all processors."""
    named = os.environ.get("DLBENCH_MARCH")
    built_native = mismatch(ahead, {"march": "native"}, ("march",)) is None
    keys = ["torch", "python", "source_hash"]
    keys += ["march"] if named else []
    keys += ["processor"] if built_native else []
    return mismatch(ahead, identity, tuple(keys))


def _opened(built: Built, reason: str | None = None) -> Status:
    global _module
    try:
        module = recipe.load(built.library)
        facts = module.facts()
    except (ImportError, OSError) as error:
        raise BuildError(f"{built.library} does not load: {error}") from error
    finally:
        if built.origin == "temporary":  # loaded, it needs its file no longer; and nothing is left if this is killed
            shutil.rmtree(built.library.parent, ignore_errors=True)
    _module = module
    devices = ("cpu", "cuda") if facts["with_cuda"] else ("cpu",)
    return Status("native", built.origin, reason, built.library, facts, devices)
