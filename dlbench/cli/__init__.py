"""The command line. ``dlbench --help`` imports click and nothing heavier: each command is imported when it is named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from dlbench.errors import DlbenchError, StoreFull, UsageError, did_you_mean

COMMANDS = {
    "list": "experiments, models, data sets and operators, and who provides them",
    "show": "an experiment's claims, parameters, metrics and needs; how a model was made",
    "run": "run experiments; the same command again resumes",
    "report": "tables, pictures and a page from run folders",
    "audit": "a report card for a model of yours, beside reference models",
    "export": "tables for LaTeX and Markdown, Parquet, MLflow, Weights & Biases",
    "compare": "what got better and worse between two runs; exit 3 on a regression",
    "models": "train the reference models that audits compare with",
    "leaderboard": "submissions, their verification, and boards made of them",
    "check": "conformance and determinism of experiments",
    "new": "write a plugin package to start from",
    "doctor": "what is built, which operators serve, damaged run files",
}

OK, FAILED, USAGE, REGRESSION, NOTHING_MEASURED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class _Commands(click.Group):
    """A group that knows its commands' names and one-line help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]  # not list(...): once its module is imported, that name is a command here

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"dlbench.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS:
            raise click.UsageError(f"there is no command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dlbench", message="%(version)s")
def group() -> None:
    """Measure what deep networks can and cannot do: claims in, verdicts out.

    Exit status: 0 all ran, 1 some trial failed, 2 usage, 3 regression found, 4 nothing measured or
    compared.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: every error that dlbench raises on purpose is one line on standard error."""
    try:
        status = group.main(arguments, prog_name="dlbench", standalone_mode=False)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.Abort:
        status = INTERRUPTED
    except KeyboardInterrupt:
        status = fail("interrupted", INTERRUPTED)
    except click.ClickException as error:
        hint = f" ({error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        status = fail(" ".join(error.format_message().split()) + hint, USAGE)
    except UsageError as error:
        status = fail(str(error), USAGE)
    except StoreFull as error:
        status = fail(str(error), FAILED)
    except BrokenPipeError:  # `dlbench list | head`
        sys.stderr.close()
        status = FAILED
    except DlbenchError as error:
        status = fail(str(error), FAILED)
    sys.exit(status if isinstance(status, int) else OK)


def fail(message: str, status: int) -> int:
    """Print one line, and a traceback below it where a plugin left one; of neither a terminal obeys anything."""
    seen = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in message)
    click.echo(f"dlbench: {seen}", err=True)
    return status
