"""The command line, from what click knows of it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

import click

from dlbench import cli
from made import rst


def text() -> str:
    """Every command with its arguments and options."""
    parts = []
    for name in cli.COMMANDS:
        command = importlib.import_module(f"dlbench.cli.{name}").command
        for path, one in _leaves(f"dlbench {name}", command):
            parts += [rst.heading(path, "-"), *_described(path, one)]
    return "\n".join(parts)


def _leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command, or those of a group."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, one in command.commands.items():
        yield from _leaves(f"{path} {name}", one)


def _described(path: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".. code-block:: text\n\n   {path} {usage}\n"
    yield rst.paragraphs(inspect.cleandoc(command.help or ""))
    rows = [
        (", ".join(rst.code(one) for one in shown.split(", ")), rst.prose(about))
        for parameter in command.params
        if (record := parameter.get_help_record(context))
        for shown, about in [record]
        if about  # an argument's stands in the text
    ]
    if rows:
        yield rst.table(("option", "what it does"), rows, (36, 64))
