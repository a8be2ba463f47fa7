"""The page of the nine limitations: its table is of installed experiments, and says what the report's claims say."""

import re
from html import unescape

import pytest

from dlbench import Claim, plugins, report
from dlbench.report import limitations


@pytest.fixture
def demo(monkeypatch):
    """The hand-made experiments of these tests measure two of the limitations."""
    table = (
        limitations.Limitation("Easily fooled", ("demo", "nobody")),
        limitations.Limitation("Black boxes", ("nobody",)),
    )
    monkeypatch.setattr(limitations, "LIMITATIONS", table)


def text_of(html):
    return re.sub(r"\s+", " ", unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)))


def test_the_table_has_verdicts_and_the_first_claim(workbench, tmp_path, demo):
    workbench.install()
    made = report.write(workbench.run(), tmp_path / "out")
    html = (made.path / limitations.FILE).read_text()
    text, claims = text_of(html), made.claims[made.claims.kind == "claim"]
    first = claims.iloc[0]
    assert first.claim in text
    exact = ", ".join(map(repr, map(float, (first.low, first.high))))
    assert f"{float(first.estimate)!r} [{exact}]" in unescape(html)  # in full, as a title
    holds = (claims.verdict == "holds").sum()
    assert f"{holds} of {len(claims)} claims hold" in text
    assert "not measured here: nobody" in text
    assert "nothing was measured of it here" in text
    assert 'href="index.html#demo"' in html


def test_another_claim_may_have_the_number(workbench, tmp_path, monkeypatch):
    workbench.install()
    table = (
        limitations.Limitation("Easily fooled", ("demo",), claim=1),
        limitations.Limitation("?", ("demo",), claim=9),
    )
    monkeypatch.setattr(limitations, "LIMITATIONS", table)
    made = report.write(workbench.run(), tmp_path / "out")
    text = text_of((made.path / limitations.FILE).read_text())
    assert "a reaches 95 % without noise" in text
    assert "a is better than b by 10 points, at every noise" in text  # there is no tenth


def test_the_report_links_to_it_only_where_it_is(workbench, tmp_path, demo):
    workbench.install()
    made = report.write(workbench.run(), tmp_path / "with")
    assert f'href="{limitations.FILE}"' in made.page.read_text()


def test_there_is_none_of_other_experiments(workbench, tmp_path):
    workbench.install()
    made = report.write(workbench.run(), tmp_path / "without")
    assert not (made.path / limitations.FILE).exists()
    assert limitations.FILE not in made.page.read_text()


def test_of_two_runs_both_are_shown(workbench, tmp_path, demo):
    workbench.install()
    runs = [workbench.run(label="one"), workbench.run(label="two")]
    html = (report.write(runs, tmp_path / "out").path / limitations.FILE).read_text()
    assert 'href="index.html#demo--one"' in html
    assert 'href="index.html#demo--two"' in html


def test_every_limitation_is_measured_by_experiments_that_are_installed():
    plugin_names = {plugin.name for plugin in plugins.discover(plugins.EXPERIMENTS)[0]}
    assert len(limitations.LIMITATIONS) == 9
    for limitation in limitations.LIMITATIONS:
        assert set(limitation.experiments) <= plugin_names
        assert limitation.claim < len(
            [
                claim
                for claim in plugins.load(plugins.EXPERIMENTS, limitation.experiments[0]).claims
                if type(claim) is Claim
            ]
        )
