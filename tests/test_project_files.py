"""The files around the code agree with it: license, citation, changelog, how to contribute."""

import re
import tomllib
from pathlib import Path

from dlbench.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name):
    return (ROOT / name).read_text()


def test_license_and_citation_are_those_of_the_package():
    assert read("LICENSE").lstrip().startswith("Apache License") and "The dlbench authors" in read("LICENSE")
    facts = dict(re.findall(r'^(\S+): "?([^"\n]+)"?$', read("CITATION.cff"), re.M))
    assert (facts["version"], facts["license"]) == (PROJECT["version"], PROJECT["license"])
    assert {"cff-version", "message", "title", "type"} <= facts.keys()


def test_the_changelog_knows_the_version():
    assert re.search(rf"^## {re.escape(PROJECT['version'])}\b", read("CHANGELOG.md"), re.M)


def test_commands_and_files_that_are_named_exist():
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = read(name)
        assert set(re.findall(r"`dlbench (\w+)", text)) <= COMMANDS.keys(), name
    for path in re.findall(r"`(\.ci/\w+|\w+\.md)`", read("CONTRIBUTING.md")):
        assert (ROOT / path).exists(), path
    extras = re.findall(r"\.\[(\w+)\]", read("CONTRIBUTING.md"))
    assert extras and set(extras) <= PROJECT["optional-dependencies"].keys()
