"""The run store: what is damaged is never read as something else, and what was written stays."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.errors import RunFolderError, StoreFull
from dlbench.store import SCHEMA, Writer, read
from dlbench.store import records as record_format
from dlbench.store.records import Damaged, decode, encode

GOLDEN = Path(__file__).parent / "golden"


def result(key="k", seed=0, status="ok", generation=0, score=1.0, finished="2026-01-01T00:00:00.000000Z"):
    return {
        "kind": "result",
        "key": key,
        "generation": generation,
        "experiment": "toy",
        "version": 1,
        "parameters": {},
        "seed": seed,
        "device": "cpu",
        "status": status,
        "reason": "",
        "rows": [{"subject": "a", "score": score}],
        "artefacts": {},
        "attempt": 1,
        "environment": "e",
        "run": "r",
        "finished": finished,
    }


def plan(*keys, generation=0):
    keyed = {str(seed): key for seed, key in enumerate(keys)}
    return {"experiments": {"toy": {"keys": keyed, "generation": generation, "seeds": list(range(len(keys)))}}}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key not in ("schema", "crc")), values, max_size=5))
def test_records_round_trip(record):
    line = encode(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert repr(decode(line[:-1])) == repr({"schema": SCHEMA} | record)  # repr: NaN equals NaN, -0.0 is not 0.0


@given(st.data())
def test_a_changed_byte_is_never_a_record(data):
    line = bytearray(encode(result(score=0.123456789))[:-1])
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        decode(bytes(line))


def test_half_a_character_is_read_as_a_question_mark():
    assert decode(encode({"reason": "a\ud800b", "seed": 1})[:-1])["reason"] == "a?b"
    assert decode(encode({"reason": "\U0001f600\\ud800"})[:-1])["reason"] == "\U0001f600\\ud800"


def test_newer_records_are_refused_and_older_ones_migrated(monkeypatch):
    with pytest.raises(RunFolderError, match=r"schema 999, this dlbench reads up to .*; update dlbench"):
        record_format.migrate({"schema": 999}, "a record")
    for strange in (None, "1", 1.0, True, 0):
        with pytest.raises(RunFolderError, match="expected a whole number"):
            record_format.migrate({"schema": strange}, "a record")
    monkeypatch.setattr(record_format, "SCHEMA", 3)
    monkeypatch.setitem(record_format.MIGRATIONS, 1, lambda old: old | {"one": 1})
    monkeypatch.setitem(record_format.MIGRATIONS, 2, lambda old: old | {"two": 2})
    assert record_format.migrate({"schema": 1}, "a record") == {"schema": 3, "one": 1, "two": 2}


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("run-v*")), ids=lambda path: path.name)
def test_golden_runs_of_every_schema_are_read(folder):
    expected = json.loads((folder / "expected.json").read_text())
    run = read(folder)
    assert run.problems == []
    assert [[r["seed"], r["status"], r["rows"]] for r in run.results] == expected
    assert set(run.environments) == {r["environment"] for r in run.results}


def test_there_is_a_golden_run_of_this_schema():
    assert (GOLDEN / f"run-v{SCHEMA}").is_dir()


def test_write_and_read(tmp_path):
    writer = Writer(tmp_path / "run")
    writer.plan(plan("a", "b", "c"))
    environment = writer.environment({"cpu": "x"})
    assert writer.environment({"cpu": "x"}) == environment
    name = writer.artefact(np.arange(3))
    writer.append({"kind": "start", "key": "a"})
    writer.append(result("a", score=math.nan) | {"environment": environment, "artefacts": {"x": name}})
    writer.append(result("b", seed=1, score=math.inf))
    writer.close()
    run = read(tmp_path / "run")
    assert run.problems == []
    assert [r["key"] for r in run.results] == ["a", "b"]
    assert math.isnan(run.results[0]["rows"][0]["score"])
    assert run.results[1]["rows"][0]["score"] == math.inf
    assert run.artefact(name).tolist() == [0, 1, 2]
    assert run.attempts["a"] == 1
    assert run.environments[environment]["cpu"] == "x"


def test_a_segment_cut_at_any_byte_loses_only_its_tail(tmp_path):
    writer = Writer(tmp_path / "run")
    writer.plan(plan(*"abc"))
    for seed, key in enumerate("abc"):
        writer.append(result(key, seed, score=float(seed)))
    writer.close()
    whole = writer.segment.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):
        writer.segment.write_bytes(whole[:cut])
        run = read(tmp_path / "run")
        complete = sum(end <= cut for end in ends)
        assert [r["rows"][0]["score"] for r in run.results] == [0.0, 1.0, 2.0][:complete]
        assert bool(run.problems) == (cut not in (0, *ends))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bit_flips_give_fewer_results_never_other_ones(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flips")
    writer = Writer(folder / "run")
    writer.plan(plan(*"abc"))
    for seed, key in enumerate("abc"):
        writer.append(result(key, seed, score=float(seed)))
    writer.close()
    damaged = bytearray(writer.segment.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    writer.segment.write_bytes(damaged)
    run = read(folder / "run")
    assert {(r["key"], r["rows"][0]["score"]) for r in run.results} <= {("a", 0.0), ("b", 1.0), ("c", 2.0)}
    assert len(run.results) == 3 or run.problems


def test_a_second_writer_never_glues_onto_a_torn_line(tmp_path):
    first = Writer(tmp_path / "run")
    first.plan(plan(*"ab"))
    first.append(result("a"))
    first.close()
    first.segment.write_bytes(first.segment.read_bytes() + encode(result("b", 1))[:50])
    second = Writer(tmp_path / "run")
    second.append(result("b", 1, score=7.0))
    second.close()
    run = read(tmp_path / "run")
    assert [r["rows"][0]["score"] for r in run.results] == [1.0, 7.0]
    assert "torn line of 50 bytes" in run.problems[0]


def test_which_result_counts(tmp_path):
    writer = Writer(tmp_path / "run")
    writer.plan(plan("a", "b", "c", generation=1))
    writer.append(result("a", status="error", generation=1, finished="1"))
    writer.append(result("a", status="ok", generation=1, score=2.0, finished="2"))
    writer.append(result("a", status="ok", generation=1, score=3.0, finished="3"))
    writer.append(result("b", status="error", generation=1, finished="1"))
    writer.append(result("b", status="timeout", generation=1, finished="2"))
    writer.append(result("c", generation=0))  # made before a --fresh run
    writer.append(result("z", generation=1))  # not in the plan any more
    writer.close()
    run = read(tmp_path / "run")
    assert [(r["key"], r["status"]) for r in run.results] == [("a", "ok"), ("b", "timeout")]
    assert run.results[0]["rows"][0]["score"] == 2.0
    assert run.nondeterministic == ["a"]


def test_what_is_read_off_a_clock_may_differ(tmp_path):
    writer = Writer(tmp_path / "run")
    planned = plan("a", "b")
    planned["experiments"]["toy"]["metrics"] = {"score": {}, "taken": {"timed": True}}
    writer.plan(planned)
    for key, score, taken in (("a", 1.0, 0.1), ("a", 1.0, 0.2), ("b", 1.0, 0.1), ("b", 2.0, 0.1)):
        record = result(key, score=score)
        record["rows"][0]["taken"] = taken
        writer.append(record)
    writer.close()
    assert read(tmp_path / "run").nondeterministic == ["b"]


def test_a_short_write_is_taken_back(tmp_path, monkeypatch):
    writer = Writer(tmp_path / "run")
    writer.plan(plan(*"ab"))
    writer.append(result("a"))
    before = writer.segment.read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:40]))
    with pytest.raises(StoreFull, match="make room and give the same command again"):
        writer.append(result("b", 1))
    monkeypatch.undo()
    assert writer.segment.read_bytes() == before
    writer.append(result("b", 1))
    assert len(read(tmp_path / "run").results) == 2


def test_no_fsync_no_record(tmp_path, monkeypatch):
    writer = Writer(tmp_path / "run")
    writer.plan(plan("a"))

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    writer.append(result("a"))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreFull):
        writer.append(result("b"))
    with pytest.raises(StoreFull):
        writer.plan(plan("a", "b"))
    monkeypatch.undo()
    run = read(tmp_path / "run")
    assert len(run.results) == 1
    assert list(run.plan["experiments"]["toy"]["keys"]) == ["0"]
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")) == []


def test_a_file_size_limit_stops_the_writer_and_keeps_what_is_whole(tmp_path):
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store import result, plan
from dlbench.store import Writer
from dlbench.errors import StoreFull
from pathlib import Path
writer = Writer(Path({str(tmp_path / "run")!r}))
writer.plan(plan(*map(str, range(50))))
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for i in range(50):
    try:
        writer.append(result(str(i), i))
    except StoreFull as error:
        print(i, error); sys.exit(3)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    run = read(tmp_path / "run")
    assert run.problems == []
    assert len(run.results) == int(done.stdout.split()[0]) > 2
    assert resource.RLIMIT_FSIZE is not None


def test_artefacts_are_checked(tmp_path):
    writer = Writer(tmp_path / "run")
    writer.plan(plan("a"))
    name = writer.artefact(np.arange(5.0))
    path = tmp_path / "run" / "artefacts" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="its checksum does not fit"):
        read(tmp_path / "run").artefact(name)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "run").artefact("../../../etc/passwd")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_text("x"), "is a file; expected a folder"),
        (lambda p: (p.mkdir(), (p / "thesis.tex").write_text("x")), r"holds something that is no run \(thesis.tex\)"),
        (lambda p: p.symlink_to(p.parent / "nowhere"), "is a broken link"),
        (lambda p: (p.mkdir(), (p / "plan.json").write_text("{")), "is damaged"),
        (lambda p: (p.mkdir(), (p / "plan.json").write_text("[]")), "is damaged"),
        (lambda p: (p.mkdir(), (p / "plan.json").write_text('{"schema": 1}')), "is damaged"),
        (lambda p: (p.mkdir(), (p / "plan.json").write_text('{"schema": 1, "experiments": {"a": {}}}')), "at 'a'"),
        (
            lambda p: (p.mkdir(), (p / "plan.json").write_text('{"schema": 7}')),
            "has schema 7, this dlbench reads up to",
        ),
    ],
)
def test_folders_that_are_no_run_are_refused_and_left_alone(tmp_path, make, message):
    path = tmp_path / "out"
    make(path)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with pytest.raises(RunFolderError, match=message):
        Writer(path)
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="choose a folder that can be written"):
        Writer(tmp_path / "file" / "run")
