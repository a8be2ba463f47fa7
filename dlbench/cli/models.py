"""``dlbench models train``: reference models, trained here and kept in the user's cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dlbench import cli, plugins
from dlbench.errors import PluginError, UsageError, did_you_mean

if TYPE_CHECKING:
    from dlbench.models.trained import Trained


@click.group("models", no_args_is_help=False, short_help="train the reference models that audits compare with")
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
    trainable = _trainable()
    for name in names:
        if name not in trainable:
            plugins.find(plugins.MODELS, name)  # unknown or broken: says so
            raise UsageError(f"model {name!r} is not one that dlbench trains{did_you_mean(name, trainable)}")
    if not trainable:
        raise UsageError("no model is installed that dlbench could train")
    for name in dict.fromkeys(names or trainable):
        click.echo(f"{name}: {_trained(trainable[name], fresh)}")
    return cli.OK


def _trainable() -> dict[str, Trained]:
    """The installed models that can be trained; what is broken is left out."""
    from dlbench import models
    from dlbench.models.trained import Trained

    found = {}
    for plugin in plugins.discover(plugins.MODELS)[0]:
        try:
            model = models.get(plugin.name)
        except PluginError as error:
            click.echo(f"dlbench: left out: {str(error).partition(chr(10))[0]}", err=True)
            continue
        if isinstance(model, Trained):
            found[plugin.name] = model
    return found


def _trained(model: Trained, fresh: bool) -> str:
    """Train a model, unless it is there; says what was measured and where it is kept."""
    verb = "is there"
    try:
        made = model.made()
    except PluginError:  # missing, damaged, of another version
        fresh = True
    if fresh:
        verb, made = "trained", model.train()
    measured = ", ".join(f"{metric} {value:.3f}" for metric, value in made["measured"].items())
    return f"{verb}; {measured}; {model.path}"
