"""A board from its bundles: ranks, history, notes, and the same bytes each time."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from dlbench.cli.leaderboard import command
from dlbench.errors import UsageError
from dlbench.leaderboard import build, protocol

from ..browser import browser, missing


def accept(submissions, label, submitter, subjects, shift=0.0, day=25, **claim):
    """An accepted bundle with rows of these subjects only, whose accuracy is a little higher."""
    told = {"submitter": submitter, "submitted_at": f"2026-11-{day}T00:00:00Z"} | claim
    files = submissions.files(label, claim=told)

    def change(records):
        for record in records:
            record["rows"] = [row for row in record["rows"] if row["subject"] in ("a", "b")]
            for row in record["rows"]:
                row["subject"] = subjects[row["subject"] == "b"]
                row["accuracy"] = min(1.0, row["accuracy"] + shift + 1e-4 * (hash_of(submitter, record["seed"]) % 7))

    return submissions.put(submissions.changed(files, "records.jsonl", change), f"{label}.zip", accept=True)


def hash_of(name, seed):
    return sum(name.encode()) * 31 + seed * 17


@pytest.fixture
def board(submissions):
    accept(submissions, "one", "ann", ("net_a", "net_b"))
    accept(submissions, "two", "bob", ("net_c", "net_d"), shift=0.05)
    return submissions.board


def test_rows_of_all_bundles_are_ranked_together(board):
    made = build(board)
    at_zero = made.rows[made.rows.settings == '{"noise":0.0}']
    assert set(at_zero.model) == {"net_a", "net_b", "net_c", "net_d"}
    assert at_zero.model.iloc[0] == "net_c"
    assert at_zero["rank"].tolist()[0] == 1
    assert at_zero["rank"].tolist() == sorted(at_zero["rank"])
    assert (at_zero["rank_best"] <= at_zero["rank"]).all()
    assert made.rows.groupby("model").submitter.first().to_dict() == {
        "net_a": "ann", "net_b": "ann", "net_c": "bob", "net_d": "bob"
    }  # fmt: skip


def test_the_same_bundles_give_the_same_bytes(board):
    def contents():
        build(board)
        files = [board / "leaderboard.csv", board / "runs.csv", *sorted((board / "site").iterdir())]
        return {file.name: file.read_bytes() for file in files}

    first = contents()
    assert set(first) == {"leaderboard.csv", "runs.csv", "index.html", "demo.html"}
    for file in sorted((board / "bundles").iterdir()):
        file.rename(file.with_name(f"z{file.name}"))  # names do not matter
    assert contents() == first


def test_csv_reads_back(board):
    made = build(board)
    read = pd.read_csv(board / "leaderboard.csv", dtype=str, keep_default_na=False)
    assert read.model.tolist() == made.rows.model.tolist()
    assert [float(value) for value in read.value] == made.rows.value.tolist()
    runs = pd.read_csv(board / "runs.csv")
    mean = runs.groupby("row_id").value.mean()
    assert mean[made.rows.row_id].to_numpy() == pytest.approx(made.rows.value.astype(float).to_numpy())


def test_history_is_kept_and_unranked(submissions, board):
    accept(submissions, "three", "ann", ("net_a", "net_b"), shift=0.1, day=26, reason="a leak was mended")
    rows = build(board).rows
    old = rows[rows.status == "superseded"]
    assert set(old.model) == {"net_a", "net_b"}
    assert old["rank"].isna().all()
    live = rows[rows.status == "active"]
    assert not live.row_id.duplicated().any()
    assert set(live.row_id) >= set(old.row_id)


def test_notes_and_verifications_lie_beside_a_bundle(board):
    from dlbench.leaderboard import bundle

    one = board / "bundles" / "one.zip"
    one.with_name("one.zip.note.json").write_text(json.dumps({"status": "withdrawn", "reason": "by its author"}))
    two = board / "bundles" / "two.zip"
    told = {"bundle_sha256": bundle.read(two).digest, "level": "reproduced", "verified_by": "carol"}
    two.with_name("two.zip.verified.json").write_text(json.dumps(told))
    rows = build(board).rows.set_index("model")
    assert rows.status["net_a"].unique() == ["withdrawn"]
    assert rows.flag["net_a"].unique() == ["by its author"]
    assert rows.verification["net_c"].unique() == ["reproduced"]
    assert rows.verified_by["net_c"].unique() == ["carol"]
    two.with_name("two.zip.verified.json").write_text(json.dumps(told | {"bundle_sha256": "0" * 64}))
    assert "reproduced" not in set(build(board).rows.verification)


def test_a_bundle_that_breaks_a_rule_stops_the_build(submissions, board):
    files = submissions.files("bad", claim={"selection": "test"})
    submissions.put(files, "bad.zip", accept=True)
    with pytest.raises(UsageError, match=r"bad\.zip: V15"):
        build(board)


def test_an_empty_board_has_pages(submissions):
    made = build(submissions.board)
    assert len(made.rows) == 0
    assert "no row is ranked" in made.page.read_text()


def test_a_folder_without_protocols_is_no_board(tmp_path):
    with pytest.raises(UsageError, match="no protocols"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"seeds": 3}, "too few"), ({"free": ("depth",)}, "no parameter"), ({"overrides": {"width": "1"}}, "width")],
)
def test_protocols_that_make_no_sense(submissions, options, says):
    with pytest.raises(UsageError, match=says):
        submissions.protocol(**options)


def test_a_damaged_protocol_is_named(submissions):
    (submissions.board / "protocols" / "demo.json").write_text("{")
    with pytest.raises(UsageError, match=r"demo\.json is no protocol"):
        protocol.read(submissions.board)


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_commands(submissions, workbench):
    run_folder = workbench.run(label="quick").path
    out = submissions.board.parent / "mine.zip"
    made = run("bundle", run_folder, "demo", "--submitter", "ann", "--out", out)
    assert made.exit_code == 0, made.output
    verified = run("verify", out, "--board", submissions.board)
    assert verified.exit_code == 0, verified.output
    assert "V24 flag" in verified.output
    told = json.loads(run("verify", out, "--board", submissions.board, "--json").output)
    assert told["level"] == "self_reported"
    out.rename(submissions.board / "bundles" / "mine.zip")
    built = run("build", submissions.board)
    assert "6 rows on 1 boards" in built.output
    spoiled = submissions.put(submissions.files("x", claim={"selection": "test"}), "x.zip")
    rejected = run("verify", spoiled, "--board", submissions.board)
    assert rejected.exit_code == 1
    assert "V15 reject" in rejected.output
    assert run("verify", out, "--board", submissions.board).exit_code == 2  # it was moved
    again = run("bundle", run_folder, "demo", "--submitter", "ann", "--out", spoiled)
    assert isinstance(again.exception, UsageError)
    assert "there already" in str(again.exception)


@pytest.mark.skipif(bool(missing()), reason=missing() or "there is a browser")
def test_the_page_filters_sorts_and_links(submissions, board):
    accept(submissions, "three", "eve", ("x</script><script>window.hit=1</script>", "net_f"), shift=-0.1)
    made = build(board)
    count = "return document.querySelectorAll('#rows tr[id]').length"
    models = "return Array.from(document.querySelectorAll('#rows tr[id]'), r => r.cells[1].textContent)"
    with browser() as window:
        window.open(board / "site" / "demo.html")
        assert window.run(count) == 12
        assert window.run("return window.hit ?? 0") == 0
        typed = (
            "const f = document.getElementById('filter'); f.value = arguments[0]; f.dispatchEvent(new Event('input'))"
        )
        window.run(typed, "net_c")
        assert set(window.run(models)) == {"net_c"}
        window.run(typed, "")
        window.click("th[data-key='model'] button")
        assert window.run(models) == sorted(window.run(models))
        link = made.rows.row_id.iloc[3][:16]
        window.run("location.hash = arguments[0]", link)
        window.run("return 0")
        assert "bundle_sha256" in window.run("return document.querySelector('.opened').textContent")
        assert window.log("browser") == []
