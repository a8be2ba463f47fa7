"""``dlbench new plugin``: a package of experiments that is complete from the first minute, to be changed step by step.

The template is a package like any other (``template/``), so that linters and readers take it for one; it is called
``example_plugin``, and that name is all that changes when it is written out.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import tempfile
from importlib import metadata
from pathlib import Path

from dlbench import plugins
from dlbench.errors import UsageError

TEMPLATE = Path(__file__).parent / "template"
STANDS_FOR = "example_plugin"
LONGEST = 40  # so that names made of it stay below the 64 that an entry point may have
FORM = "begin with a letter, and use letters of ASCII, digits, and single - or _ between them (my-plugin)"


def write_plugin(name: str, folder: Path) -> Path:
    """Write the package of this name into a folder, whole or not at all; returns the package's own folder.

    Args:
        name: as a user gives it, ``My-Plugin``; the import package is then ``my_plugin``, the distribution
            ``my-plugin``, and the names of its experiments begin with ``my_plugin_``.
        folder: where to write it; it is made if it is not there.

    Raises:
        UsageError: the name cannot be used, or what is to be written is there, or cannot be written.
    """
    package = package_name(name)
    distribution = package.replace("_", "-")
    target = folder / distribution
    try:
        if target.exists() or target.is_symlink():
            raise UsageError(f"{target} is there already; take another name, or another folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{distribution}.") as unfinished:
            made = Path(unfinished, distribution)
            for path, content in filled(package, distribution).items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_text(content, encoding="utf-8")
            made.rename(target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from None
    return target


def filled(package: str, distribution: str) -> dict[Path, str]:
    """The template's files by their paths, with the names in place."""

    def named(text: str) -> str:
        return text.replace(STANDS_FOR, package).replace(STANDS_FOR.replace("_", "-"), distribution)

    return {Path(named(str(path))): named((TEMPLATE / path).read_text(encoding="utf-8")) for path in template_files()}


def template_files() -> list[Path]:
    """The template's files, relative to it; not what tools that were run over it left there."""
    files = (path.relative_to(TEMPLATE) for path in sorted(TEMPLATE.rglob("*")) if path.is_file())
    return [path for path in files if not any("cache" in part for part in path.parts)]


def package_name(name: str) -> str:
    """The name of the import package, or a UsageError that says why there cannot be one."""
    package = re.sub(r"[-_.\s]", "_", name.strip()).lower()
    becomes = f"the plugin {name!r}" + (f" would be the package {package!r}, which" if package != name else "")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", package):
        raise UsageError(f"{becomes} is no name for a package; {FORM}")
    if len(package) > LONGEST:
        raise UsageError(f"{becomes} has {len(package)} characters; expected at most {LONGEST}")
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        raise UsageError(f"{becomes} is a word of the language Python; take another name")
    if taken := owner(package):
        raise UsageError(f"{becomes} is taken by {taken}; take another name")
    return package


def owner(package: str) -> str:
    """What on this machine has the name of a package already, or an empty text. Nothing is imported."""
    try:
        return f"the installed distribution {package.replace('_', '-')} {metadata.version(package.replace('_', '-'))}"
    except metadata.PackageNotFoundError:
        pass
    if importlib.util.find_spec(package) is not None:
        return f"a module that Python finds as {package!r}"
    wanted = {package, *_registers(package)}
    for group in plugins.GROUPS:
        healthy, broken = plugins.discover(group)
        for plugin in [*healthy, *(record.plugin for record in broken)]:
            if plugin.name in wanted:
                kind = group.rpartition(".")[2].removesuffix("s")
                return f"the {kind} {plugin.name!r} of {plugin.distribution} {plugin.version}"
    return ""


def _registers(package: str) -> set[str]:
    """The names that the package will register."""
    lines = (TEMPLATE / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    names = (line.partition(" = ")[0] for line in lines if line.startswith(f"{STANDS_FOR}_"))
    return {name.replace(STANDS_FOR, package) for name in names}
