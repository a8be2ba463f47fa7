"""The command: what it prints, writes and returns."""

import csv
import json
from html.parser import HTMLParser

import pytest

from .conftest import bench


def rows(shift=0.0, slower=1.0):
    def made(seed):
        noise = 0.01 * ((seed * 7) % 5)
        about = {"subject": "net", "noise": 0.5}
        return [about | {"accuracy": 0.8 + noise + shift * (1 + noise), "seconds": slower * (1 + noise), "depth": 3.0}]

    return made


@pytest.fixture
def dlbench(dlbench_here):
    return dlbench_here


@pytest.fixture
def sides(make_run):
    return make_run("a", rows(), seeds=range(8)), make_run("b", rows(-0.1, 2.0), seeds=range(8), facts={"threads": 1})


def test_a_regression_ends_with_three_and_is_first(dlbench, sides, tmp_path):
    done = dlbench("compare", *sides, "--csv", "pairs.csv", "--html", "pairs.html")
    assert (done.status, done.err) == (3, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("A: ") and lines[1].startswith("B: ")
    assert lines[3].split()[:2] == ["worse", "demo"]
    assert "3 pairs: 2 worse, 1 equivalent." in done.out
    assert "net (noise=0.5)" in done.out
    with (tmp_path / "pairs.csv").open(newline="") as file:
        pairs = {row["metric"]: row for row in csv.DictReader(file)}
    assert {name: row["verdict"] for name, row in pairs.items()} == {
        "accuracy": "worse",
        "seconds": "worse",
        "depth": "equivalent",
    }
    assert float(pairs["seconds"]["relative"]) == pytest.approx(1.0)
    assert pairs["accuracy"]["p_sign_flip"] == repr(2 / 2**8)


def test_the_page_needs_no_network_and_shows_what_the_table_does(dlbench, sides, tmp_path):
    dlbench("compare", *sides, "--html", "pairs.html")
    text = (tmp_path / "pairs.html").read_text()
    assert "2 of 3 pairs got worse" in text
    assert "Content-Security-Policy" in text
    assert 'querySelectorAll("table.sortable")' in text

    class Links(HTMLParser):
        found = ()

        def handle_starttag(self, tag, attributes):
            self.found += tuple(v for k, v in attributes if k in ("src", "href") and not v.startswith(("data:", "#")))

    links = Links()
    links.feed(text)
    assert links.found == ()
    assert text.count('<tr class="worse">') == 2
    assert "The two environments are the same" in text


def test_hostile_names_stay_text(dlbench, make_run, tmp_path):
    def hostile(seed):
        return [{"subject": "<script>alert(1)</script>", "accuracy": 0.5 + seed / 100}]

    done = dlbench("compare", make_run("a", hostile), make_run("b", hostile), "--html", "x.html", "--csv", "x.csv")
    assert done.status == 0, done.err
    assert "<script>alert" not in (tmp_path / "x.html").read_text()
    assert "<script>alert" in (tmp_path / "x.csv").read_text()


def test_without_a_regression_it_ends_with_zero(dlbench, sides):
    a, b = sides
    assert dlbench("compare", a, a).status == 0
    assert dlbench("compare", b, a).status == 0
    limits = ("--threshold", "accuracy=0.2", "--threshold", "demo.seconds=150%")
    done = dlbench("compare", a, b, *limits, "--json")
    assert done.status == 0, done.out
    told = json.loads(done.out)
    assert told["verdicts"].get("worse", 0) == 0
    assert {pair["metric"] for pair in told["pairs"]} == {"accuracy", "seconds", "depth"}


def test_where_nothing_can_be_compared_it_ends_with_four(dlbench, make_run, tmp_path):
    a, b = make_run("a", rows()), make_run("b", rows(), version=2)
    done = dlbench("compare", a, b)
    assert done.status == 4
    assert "nothing could be compared: 3 pairs: other version: 1 in A, 2 in B" in done.err
    assert "not comparable: demo, 3 pairs: other version" in done.out
    assert dlbench("compare", a, b, "--despite", "version").status == 0
    few = make_run("few", rows(-0.5), seeds=range(3))
    done = dlbench("compare", few, few)
    assert done.status == 4
    assert "a verdict needs at least 6" in done.err


def test_files_of_pytest_benchmark(dlbench, make_file):
    a = make_file("a.json", bench(data=[1.0, 1.01, 1.02, 1.0, 1.03, 1.01]))
    b = make_file("b.json", bench(data=[1.5, 1.51, 1.52, 1.5, 1.53, 1.51]))
    done = dlbench("compare", a, b)
    assert done.status == 3
    assert "test_step[64]" in done.out
    assert "(+49.5 %)" in done.out
    assert dlbench("compare", a, b, "--threshold", "time=60%").status == 0
    other = make_file("c.json", bench(data=[1.5] * 6), cpu="Another CPU")
    done = dlbench("compare", a, other)
    assert (done.status, "other machine: Some CPU" in done.err) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--threshold", "accuracy"], "expected METRIC=VALUE"),
        (["--threshold", "accuracy=a lot"], "expected a number from 0, or a share such as 5%"),
        (["--threshold", "accuracy=-1"], "expected a number from 0"),
        (["--threshold", "accurcy=1"], "neither side has such a metric; did you mean 'accuracy'?"),
        (["--despite", "weather"], "'weather' is not one of"),
        (["--csv", "a/plan.json/x.csv"], "cannot write"),
    ],
)
def test_usage_errors_are_one_line(dlbench, sides, arguments, says):
    done = dlbench("compare", *sides, *arguments)
    assert done.status == 2
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_path_that_is_nothing(dlbench, sides):
    done = dlbench("compare", sides[0], "nowhere")
    assert (done.status, done.err.startswith("dlbench: there is no nowhere; give a run folder")) == (2, True)
