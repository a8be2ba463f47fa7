"""The fenced blocks of a page, and what runs them as a reader would.

A comment of the page, a line that begins with ``%``, says what cannot be run as it stands::

    % not run: needs a GPU          the next block; the reasons are listed in test_pages.py
    % slow from here                what follows runs only in the test that is marked slow
    % continues: experiment.md      the reader has the files of that page, and did its first command

Blocks of Python share a namespace, blocks of shell a folder and its variables. A block of ``output`` is what the block
before it prints, but for numbers, spaces and what stands for ``…``. A block with a caption is a file of that name.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from dlbench import plugins
from dlbench.cli import main

_FENCE = re.compile(
    r"^% (?P<slow>slow from here)$"
    r"|^% continues: (?P<before>\S+)$"
    r"|(?:^% not run: (?P<reason>[^\n]+)\n\n?)?"
    r"^```(?:(?P<kind>\w+)|\{code-block\} (?P<language>\w+)\n:caption: (?P<file>\S+)\n)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
_NUMBER = re.compile(r"[-+−]?(?:\d[\d.,]*(?:e[-+]?\d+)?|∞|inf|nan)\b")
RUN = ("python", "bash", "toml", "output")
SHOWN = ("text",)  # a picture of a folder, say: nothing to run and nothing that was printed


@dataclass(frozen=True)
class Block:
    """A fenced block; ``reason`` why it is not run, ``slow`` whether only the slow test does, ``file`` whose it is."""

    kind: str
    text: str
    line: int
    reason: str
    slow: bool
    file: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, without Sphinx's other directives."""
    text, found, slow = page.read_text(encoding="utf-8"), [], False
    for match in _FENCE.finditer(text):
        if match["slow"]:
            slow = True
        elif match["before"]:
            found += [replace(block, slow=slow) for block in _to_begin_with(page.with_name(match["before"]))]
        else:
            line = text.count("\n", 0, match.start("text"))
            kind, file = match["kind"] or match["language"], match["file"] or ""
            found.append(Block(kind, match["text"], line, match["reason"] or "", slow, file))
    return found


def _to_begin_with(page: Path) -> list[Block]:
    """A page's files, and its first command."""
    found = blocks(page)
    first = next(block for block in found if block.kind == "bash")
    return [block for block in found if block.file or block is first]


@dataclass
class Reader:
    """Somebody who follows a page in an empty folder."""

    page: Path
    folder: Path
    names: dict[str, object] = field(default_factory=lambda: {"__name__": "page"})
    printed: str = ""

    def follow(self, block: Block) -> None:
        """Do what a block says; AssertionError, with its place, where it does not do what the page promises."""
        place = f"{self.page.name}, line {block.line}"
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text.lstrip("\n"), encoding="utf-8")
        elif block.kind == "python":
            importlib.invalidate_caches()  # files may have come
            with self._here():
                exec(compile("\n" * block.line + block.text, str(self.page), "exec"), self.names)
        elif block.kind == "bash":
            with self._here():
                for line in commands(block.text):
                    self._shell(line, place)
        elif block.kind == "toml":
            assert tomllib.loads(block.text), place
        else:
            assert matches(block.text, self.printed), (
                f"{place}: the page shows\n{block.text}\nand it was\n{self.printed}"
            )

    @contextlib.contextmanager
    def _here(self):
        """In the folder, with what is printed kept. What is not printed by this process is added by _shell."""
        kept = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):
            yield
        self.printed = kept.getvalue()

    def _shell(self, line: str, place: str) -> None:
        """A line of shell. ``dlbench`` runs in this process as its console script would; each start costs seconds."""
        command, _, comment = line.partition("  # ")
        promised = int(told[1]) if (told := re.search(r"exits? with (\d)", comment)) else 0
        words = shlex.split(command)
        if words[0] == "export":
            os.environ.update(dict(word.split("=", 1) for word in words[1:]))
        elif words[0] == "cd":
            self.folder = (Path.cwd() / words[1]).resolve()
            os.chdir(self.folder)
        elif words[:4] == ["python", "-m", "pip", "install"]:
            self._install(words[-1], place)
        else:
            status = self._dlbench(words[1:]) if words[0] == "dlbench" else self._other(command)
            assert status == promised, f"{place}: {command} exits with {status}\n{sys.stdout.getvalue()}"

    def _dlbench(self, words: list[str]) -> int:
        plugins._registered.cache_clear()
        plugins._code_digest.cache_clear()
        importlib.invalidate_caches()
        try:
            main(words)
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    def _other(self, command: str) -> int:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(done.stdout, end="")
        return done.returncode

    def _install(self, what: str, place: str) -> None:
        """A package that lies here, as pip installs it, but into a folder, and nothing that it needs."""
        site = self.folder / ".site"
        source = re.sub(r"\[\w+\]$", "", what)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        done = subprocess.run([*pip, "--target", str(site), source], capture_output=True, text=True)
        assert done.returncode == 0, f"{place}: {done.stderr}"
        sys.path.insert(0, str(site))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))


def commands(text: str) -> list[str]:
    """The lines of a block of shell, continued ones in one piece, comments of a line left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def matches(shown: str, printed: str) -> bool:
    """Whether every line of what a page shows was printed, in this order; a line ``…`` stands for any others."""
    wanted = [_loose(line) for line in shown.splitlines() if line.strip() not in ("", "…")]
    lines = iter(_plain(line) for line in printed.splitlines())
    return all(any(re.fullmatch(line, one) for one in lines) for line in wanted)


def _plain(line: str) -> str:
    return " ".join(_NUMBER.sub("0", line).split())


def _loose(line: str) -> str:
    return ".*".join(re.escape(_plain(part)) for part in line.split("…"))
