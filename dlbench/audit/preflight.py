"""In a task of its own, before anything is spent: can the data be read and the model be run, and what is odd?"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlbench import data, models, plugins
from dlbench.audit.examples import examples
from dlbench.brought import brought, odd_logits
from dlbench.errors import DataDamaged, DataMissing, NotApplicable, PluginError, UsageError
from dlbench.experiment import Context
from dlbench.models.spec import label


def preflight(payload: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Look at a model and at the data that it is to be measured on.

    Args:
        payload: ``model`` and ``data`` as audits take them, ``references`` (names, or None for all that were made for
            the data set), ``audits`` (names), ``folds``, ``device``.
        send: unused.

    Returns:
        ``label`` of the model, ``references`` that can be used, ``findings`` (lines on the data and on references left
        out), ``errors`` (lines; with any, nothing should be run), ``examples``, ``classes``, ``shape``, ``accuracy`` on
        the first fold, ``retrainable`` (audits that train fresh copies of the model where they may); or
        {"usage": message}.
    """
    from dlbench.data import own

    try:
        arrays = data.load(payload["data"])
        context = Context(seed=0, device=payload["device"], loader=lambda name: arrays)  # which are read once
        found = own.findings(arrays)
        told: dict[str, Any] = {
            "label": label(payload["model"]),
            "errors": [one.text for one in found if one.severity == "error"],
            "findings": [f"{one.severity}: {one.text}" for one in found if one.severity != "error"],
            "examples": len(arrays["test_y" if "test_y" in arrays else "y"]),
        }
        if told["errors"]:
            return told
        shown = examples(payload["data"], context, payload["folds"])
        net = brought(payload["model"], shown.shape, len(shown.classes), context)
    except (UsageError, DataMissing, DataDamaged, NotApplicable) as error:
        return {"usage": str(error).partition("\n")[0]}
    except Exception as error:  # a user's model may raise anything; where it did is worth more than that it did
        where = traceback.extract_tb(error.__traceback__)[-1]
        return {"usage": f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"}
    from dlbench.audit.subject import Subject

    subject = Subject(told["label"], net, context)
    try:
        odd = odd_logits(subject.logits(shown.x))
    except UsageError as error:
        return {"usage": str(error)}
    told["findings"] += [f"warning: {odd}"] if odd else []
    right = subject.right(shown.x, shown.y)
    references, left_out = fitting(payload["data"], payload["references"], beside=payload["model"])
    return told | {
        "references": references,
        "findings": told["findings"] + left_out,
        "classes": len(shown.classes),
        "shape": list(shown.shape),
        "accuracy": float(np.mean(right)),
        "retrainable": [
            name for name in payload["audits"] if retrains(plugins.load_plugin(plugins.find(plugins.AUDITS, name)))
        ],
    }


def retrains(cls: Any) -> bool:
    """Whether an audit trains fresh copies of the model, where its parameter ``retrain`` allows it."""
    return dataclasses.is_dataclass(cls) and any(field.name == "retrain" for field in dataclasses.fields(cls))


def fitting(dataset: str, wanted: Sequence[str] | None, beside: str = "") -> tuple[list[str], list[str]]:
    """Registered models that were made for a data set and can be used, and a line for each that cannot.

    Args:
        dataset: the data set.
        wanted: their names; None takes all that were made for it.
        beside: the model that they are to stand beside, which is none of them.

    Raises:
        UsageError: one that was asked for by name is not there.
    """
    usable, left_out = [], []
    for name in models.names() if wanted is None else dict.fromkeys(wanted):
        if name == beside:
            continue
        try:
            model = models.get(name)
            if model.dataset != dataset:
                if wanted is not None:
                    left_out.append(f"reference {name}: it was made for {model.dataset}")
                continue
            model.fingerprint()  # tells whether it is trained
            usable.append(name)
        except PluginError as error:
            left_out.append(f"reference {name} is left out: {str(error).partition(chr(10))[0]}")
    return usable, left_out


def audits() -> list[str]:
    """The names of all installed audits."""
    return [plugin.name for plugin in plugins.discover(plugins.AUDITS)[0]]
