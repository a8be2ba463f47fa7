"""Every command and every snippet of the documentation does what its page says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dlbench import plugins

from .snippets import RUN, SHOWN, Reader, blocks, matches

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if not {"experiments", "made", "_build"} & set(page.relative_to(DOCS).parts[:-1]) and any(blocks(page))
]
LONG = [page for page in PAGES if any(block.slow for block in blocks(page))]
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]

REASONS = {
    "needs a GPU",
    "installs from a registry",
}
"""Why a block of a page may stay unrun."""


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """reader(page) → who follows it; what they change of the process is undone."""
    monkeypatch.setenv("DLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DLBENCH_OPS", "reference")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # a page's own pytest is none of these workers
    monkeypatch.setattr(sys, "path", [*sys.path])
    before, modules = dict(os.environ), set(sys.modules)
    folder = tmp_path / "empty"
    folder.mkdir()
    yield lambda page: Reader(page, folder)
    os.environ.clear()
    os.environ.update(before)
    plugins._registered.cache_clear()
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_does_what_it_says(page, reader):
    follow([block for block in blocks(page) if not block.slow], reader(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", LONG, ids=[name for name, page in zip(NAMES, PAGES, strict=True) if page in LONG])
def test_a_long_page_does_what_it_says(page, reader):
    follow(blocks(page), reader(page))


def follow(found, somebody):
    for block in found:
        if not block.reason and (block.kind in RUN or block.file):
            somebody.follow(block)


def test_what_is_not_run_says_why():
    found = [(page.name, block) for page in PAGES for block in blocks(page)]
    assert {block.reason for _, block in found if block.reason} <= REASONS
    assert len([block for _, block in found if block.reason]) <= 6
    odd = [
        (name, block.kind, block.line) for name, block in found if block.kind not in (*RUN, *SHOWN) and not block.file
    ]
    assert not odd


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("3 of 7 hold", "12 of 13 hold\n", True),
        ("a  b", "x\na b\nc", True),
        ("a\nc", "a\nb\nc", True),
        ("c\na", "a\nb\nc", False),
        ("written to …", "written to /tmp/x", True),
        ("0.5 … 0.7", "0.1 … 0.9", True),
        ("holds", "does not hold", False),
    ],
)
def test_loose_comparison(shown, printed, alike):
    assert matches(shown, printed) is alike
