"""``dlbench models train``: reference models, trained here and kept in the user's cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dlbench import cli
from dlbench.errors import UsageError

if TYPE_CHECKING:
    from dlbench.models.trained import Trained


@click.group("models", short_help="train the reference models that audits compare with")
def command() -> None:
    """Train reference models. ``dlbench list`` names all models, ``dlbench show NAME`` tells how one was made."""


@command.command("train", short_help="train reference models and keep them")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--fresh", is_flag=True, help="Train again what is there already.")
def train(*, names: Sequence[str], fresh: bool) -> int:
    """Train reference models (all, if none is named) with fixed seeds, and keep them in the user's cache.

    They are kept as safetensors under DLBENCH_CACHE, or the user's cache folder, with the command, the code's revision,
    the software, the data and what was measured in the file's header.
    """
    from dlbench import models
    from dlbench.models.trained import Trained

    named = {name: models.get(name) for name in names or _healthy()}
    chosen = {name: model for name, model in named.items() if isinstance(model, Trained)}
    if refused := [name for name in names if name not in chosen]:
        known = f"those that can be trained: {', '.join(sorted(chosen) or sorted(_trainable()))}"
        raise UsageError(f"model {refused[0]!r} is not one that dlbench trains; {known}")
    if not chosen:
        raise UsageError("no model is installed that dlbench could train")
    for name, model in chosen.items():
        how = _trained(model, fresh)
        click.echo(f"{name}: {how}")
    return cli.OK


def _healthy() -> list[str]:
    from dlbench import plugins

    return [plugin.name for plugin in plugins.discover(plugins.MODELS)[0]]


def _trainable() -> list[str]:
    from dlbench import models
    from dlbench.models.trained import Trained

    return [name for name in _healthy() if isinstance(models.get(name), Trained)]


def _trained(model: Trained, fresh: bool) -> str:
    """Train a model if it is not there; says what was measured and where it is."""
    from dlbench.errors import PluginError

    try:
        made, verb = model.made(), "is there"
    except PluginError:
        made, verb = {}, ""
    if fresh or not made:
        made, verb = model.train(), "trained"
    measured = ", ".join(f"{metric} {value:.3f}" for metric, value in made["measured"].items())
    return f"{verb}; {measured}; {model.path}"
