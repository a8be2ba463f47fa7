"""Boards of a size that nobody has yet: verification of bundles of 50 MB, a board of 10,000 rows and its page.

Run with ``pytest tests/benchmarks/test_leaderboard.py -m benchmark --benchmark-enable``.
"""

import resource
import time

import pytest

from dlbench.leaderboard import build, protocol, verify

from ..browser import browser, missing
from . import boards

pytestmark = pytest.mark.benchmark


def processor_seconds(benchmark, function, *arguments):
    """What it returns; the seconds of the processor and the most memory so far stand beside the time by the clock."""
    before = time.process_time()
    made = benchmark.pedantic(function, arguments, rounds=1, iterations=1)
    benchmark.extra_info["cpu_s"] = time.process_time() - before
    benchmark.extra_info["peak_rss_bytes"] = peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak < 2**30
    return made


@pytest.mark.parametrize(
    "size",
    [{"subjects": 40, "settings": 1, "items": 1060}, {"subjects": 700, "settings": 112}],
    ids=["of predictions", "of rows"],
)
def test_a_bundle_of_50_mb_is_verified(benchmark, tmp_path, size):
    board, path = boards.board(tmp_path / "board", recomputed="items" in size), tmp_path / "bundle.zip"
    unpacked = boards.write(path, **size)
    assert 48 < unpacked / 2**20 < 50
    found = processor_seconds(benchmark, verify, path, protocol.read(board))
    assert found.level == ("recomputed" if "items" in size else "checked")
    benchmark.extra_info["unpacked_bytes"] = unpacked


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A board of 10,000 rows from ten submitters."""
    board = boards.board(tmp_path_factory.mktemp("large") / "board", recomputed=False)
    for k in range(10):
        boards.write(board / "bundles" / f"{k}.zip", subjects=10, settings=100, submitter=f"maker{k}", day=k + 1)
    return board


def test_a_board_of_10_000_rows_is_built(benchmark, large):
    made = processor_seconds(benchmark, build, large)
    assert len(made.rows) == 10_000
    assert made.rows["rank"].notna().all()
    benchmark.extra_info["page_bytes"] = (large / "site" / "made.html").stat().st_size


@pytest.mark.skipif(bool(missing()), reason=missing() or "there is a browser")
def test_its_page_opens(benchmark, large):
    page = build(large).path / "site" / "made.html"
    with browser() as window:
        benchmark.pedantic(window.open, (page,), rounds=5, warmup_rounds=1)
        told = "const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd / 1000"
        benchmark.extra_info["load_event_s"] = window.run(told)
        assert window.run("return document.querySelectorAll('#rows tr[id]').length") > 0
