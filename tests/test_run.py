"""``dlbench run`` from start to end: statuses, resume, kills at any moment, full disks, bad input."""

import functools
import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from dlbench.cli import main
from dlbench.isolate import Forkserver
from dlbench.store import read
from dlbench.store.records import decode


def measurements(out):
    frame = pd.read_csv(out / "report" / "measurements.csv")
    return frame.drop(columns=["run", "environment"])


def spawn(arguments, cwd, env):
    command = [sys.executable, "-P", "-m", "dlbench", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )


def test_every_end_of_a_trial_has_its_status_and_the_others_go_on(dlbench, toys, tmp_path):
    names = [
        "healthy",
        "raises",
        "exits",
        "hangs",
        "segfaults",
        "hoards",
        "tensors",
        "outside",
        "twice",
        "nothing",
        "daemon",
        "chatters",
        "nodata",
    ]
    done = dlbench("run", *names, "--seeds", 1, "--timeout", 4, "--memory", 1.0, "--out", "o", plugins=toys)
    assert done.status == 1, done.err
    assert "Traceback" not in done.out + done.err
    trials = pd.read_csv(tmp_path / "o/report/trials.csv").set_index("experiment")
    assert trials.status.to_dict() == {
        "healthy": "ok",
        "raises": "error",
        "exits": "error",
        "hangs": "timeout",
        "segfaults": "crashed",
        "hoards": "out_of_memory",
        "tensors": "invalid_result",
        "outside": "invalid_result",
        "twice": "invalid_result",
        "nothing": "invalid_result",
        "daemon": "ok",
        "chatters": "ok",
        "nodata": "skipped",
    }
    assert trials.reason["raises"] == "RuntimeError: the cable (toys.py:68)"
    assert trials.reason["segfaults"] == "killed by SIGSEGV"
    assert "yield plain numbers or text (.item())" in trials.reason["tensors"]
    assert "no_such_data" in trials.reason["nodata"]
    assert "1 seeds: no verdict is possible below 6" in done.err
    [log] = (tmp_path / "o/logs").glob("chatters-0-*")
    assert "echo" not in log.read_text()
    assert "from a child" in log.read_text()
    [pid] = {r["rows"][0]["pid"] for r in read(tmp_path / "o").results if r["experiment"] == "daemon"}
    assert not psutil.pid_exists(pid) or psutil.Process(pid).name() != "sleep"
    page = (tmp_path / "o/report/index.html").read_text()
    assert "<script>alert(1)</script>" not in page


def test_provenance_is_stored(calm):
    [facts] = read(calm).environments.values()
    assert {"dlbench", "toys"} <= set(facts["code"])
    assert facts["threads"] == 1
    assert facts["heap"] in ("warm", "default")
    assert facts["ops"]["implementation"] == "reference"
    assert facts["packages"]["torch"]
    assert facts["code"]["dlbench"].keys() >= {"version", "revision", "dirty", "digest"}


def test_the_same_command_resumes_and_other_experiments_are_kept(dlbench, toys, calm, tmp_path):
    again = dlbench("run", "healthy", "--out", "o", plugins=toys)
    assert "0 trials to run, 6 in the store already" in again.err
    more = dlbench("run", "healthy", "--seeds", 8, "--out", "o", plugins=toys)
    assert "2 trials to run, 6 in the store already" in more.err
    assert "1 of 1 claims hold" in more.out
    other = dlbench("run", "chatters", "--seeds", 1, "--out", "o", plugins=toys)
    assert "chatters" in other.out
    assert set(measurements(tmp_path / "o").experiment) == {"healthy", "chatters"}
    fresh = dlbench("run", "healthy", "--seeds", 1, "--out", "o", "--fresh", plugins=toys)
    assert "1 trials to run, " in fresh.err
    assert set(measurements(tmp_path / "o").experiment) == {"healthy", "chatters"}


def test_parameters_code_and_data_are_part_of_the_key(dlbench, toys, tmp_path):
    def keys():
        return set(read(tmp_path / "o").plan["experiments"]["healthy"]["keys"].values())

    dlbench("run", "healthy", "--seeds", 1, "--out", "o", plugins=toys)
    before = keys()
    dlbench("run", "healthy", "--seeds", 1, "--out", "o", "--set", "healthy.effect=2", plugins=toys)
    assert keys().isdisjoint(before)
    (toys / "toys.py").write_text((toys / "toys.py").read_text().replace("scale=0.05", "scale=0.06"))
    changed = dlbench("run", "healthy", "--seeds", 1, "--out", "o", plugins=toys)
    assert "1 trials to run, 1 of them again because code or data changed" in changed.err
    assert keys().isdisjoint(before)


def test_failed_trials_are_tried_again_and_counted(dlbench, toys, tmp_path):
    for attempt in (1, 2):
        assert dlbench("run", "raises", "--seeds", 1, "--out", "o", plugins=toys).status == 4  # nothing measured
        trials = pd.read_csv(tmp_path / "o/report/trials.csv")
        assert trials.attempt.tolist() == [attempt]


def test_the_report_is_the_same_for_the_same_run(dlbench, toys, calm, tmp_path):
    first = {p.name: p.read_bytes() for p in (tmp_path / "o/report").rglob("*") if p.is_file()}
    assert dlbench("report", "o", plugins=toys).status == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "o/report").rglob("*") if p.is_file()} == first
    assert set(first) >= {
        "index.html",
        "measurements.csv",
        "claims.csv",
        "trials.csv",
        "leaderboard.csv",
        "healthy.svg",
    }


def test_json_on_standard_output_is_only_json(calm_run):
    assert calm_run.done.status == 0, calm_run.done.err
    claims = json.loads(calm_run.done.out)["claims"]
    assert claims[0]["verdict"] == "holds"
    assert calm_run.done.err == ""


@pytest.mark.parametrize("moment", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 6))])
def test_a_driver_killed_at_any_moment_loses_only_what_was_in_flight(dlbench, toys, environment, tmp_path, moment):
    """SIGKILL at a random moment, then the same command: all results there, each stored once, equal to a calm run's."""
    arguments = ["run", "healthy", "--set", "healthy.sleep=0.15", "--jobs", 2, "--out", "o"]
    driver = spawn(arguments, tmp_path, environment(toys))
    segments = tmp_path / "o" / "segments"
    while not list(segments.glob("*.jsonl")) and driver.poll() is None:
        time.sleep(0.01)
    time.sleep(random.Random(moment).uniform(0, 0.6))
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.communicate()
    held = {r["key"] for r in read(tmp_path / "o").results}
    deadline = time.monotonic() + 10
    while any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children):
        assert time.monotonic() < deadline, "trials outlived the driver"
        time.sleep(0.05)
    done = dlbench(*arguments, plugins=toys)
    assert done.status == 0, done.err
    run = read(tmp_path / "o")
    assert len(run.results) == 6
    assert sorted(r["key"] for r in run.records) == sorted({r["key"] for r in run.records})
    assert held <= {r["key"] for r in run.records}
    assert run.nondeterministic == []


def test_a_killed_trial_is_a_row_and_the_run_goes_on(toys, environment, tmp_path):
    driver = spawn(["run", "healthy", "hangs", "--seeds", 1, "--jobs", 2, "--out", "o"], tmp_path, environment(toys))
    [log] = wait_for(lambda: list((tmp_path / "o/logs").glob("hangs-0-*")))
    wait_for(lambda: [c for c in psutil.Process(driver.pid).children(recursive=True) if c.ppid() != driver.pid])
    time.sleep(0.3)
    [trial] = [c for c in psutil.Process(driver.pid).children(recursive=True) if c.ppid() != driver.pid]
    trial.kill()
    _, err = driver.communicate(timeout=60)
    assert "hangs seed 0 crashed" in err
    assert "killed by SIGKILL" in err
    assert driver.returncode == 1
    assert log.exists()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_cleanly_with_a_partial_report(toys, environment, tmp_path, number):
    arguments = ["run", "healthy", "hangs", "--seeds", 6, "--jobs", 2, "--out", "o"]
    driver = spawn(arguments, tmp_path, environment(toys))
    wait_for(lambda: any(b'"result"' in s.read_bytes() for s in (tmp_path / "o/segments").glob("*")))
    driver.send_signal(number)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert (tmp_path / "o/report/index.html").exists()
    assert "healthy" in out


def test_a_full_disk_stops_scheduling_and_keeps_what_was_written(toys, environment, tmp_path):
    command = [sys.executable, "-P", "-m", "dlbench", "run", "healthy", "--seeds", "30", "--out", "o"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(toys),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)),
    )
    assert done.returncode == 1, done.stderr
    assert "make room and give the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    kept = len(read(tmp_path / "o").results)
    assert 0 < kept < 30


def test_dev_full_as_the_disk(toys, environment, calm, tmp_path):
    """The segment itself cannot take a byte."""
    script = """
import os, sys
real = os.open
def full(path, flags, *rest, **more):
    return real("/dev/full", os.O_WRONLY) if str(path).endswith(".jsonl") else real(path, flags, *rest, **more)
os.open = full
from dlbench.cli import main
main(["run", "healthy", "--seeds", "8", "--out", "o"])
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=environment(toys), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "No space left on device; make room" in done.stderr
    assert len(read(calm).results) == 6


# Whose message is known only once torch is imported, and held by tests/test_parameters.py.
slow = functools.partial(pytest.param, marks=pytest.mark.slow)

BAD = [
    (["run", "helthy"], r"there is no experiment 'helthy'; did you mean 'healthy'?"),
    (["run", "healthy", "--preset", "slow"], "healthy has no preset 'slow'"),
    (
        ["run", "healthy", "--set", "healthy.efect=1"],
        "healthy.efect: there is no such parameter; did you mean 'effect'?",
    ),
    slow(["run", "healthy", "--set", "healthy.effect=big"], "healthy.effect: 'big' is not a number between -5 and 5"),
    slow(["run", "healthy", "--set", "healthy.effect=9"], "healthy.effect: 9.0 is not between -5 and 5"),
    (["run", "healthy", "--set", "healthyeffect=9"], "expected NAME.PARAM=VALUE"),
    (["run", "healthy", "--set", "raises.x=9"], "'raises', which is not among the experiments to run"),
    (["run", "healthy", "--set", "helthy.effect=9"], "there is no experiment 'helthy'"),
    (["run", "healthy", "--seeds", "0"], "--seeds 0: expected a whole number from 1"),
    (["run", "healthy", "--seeds", "many"], "'many' is not a valid integer"),
    (["run", "healthy", "--jobs", "0"], "--jobs 0"),
    (["run", "healthy", "--seeds", "300000000"], "--seeds 300000000: expected at most 10000"),
    (["run", "healthy", "--timeout", "nan"], "--timeout nan: expected more than 0"),
    (["run", "healthy", "--device", "cpu:3"], "--device 'cpu:3': expected cpu, cuda or cuda:N"),
    (["run", "healthy", "--timeout", "0"], "--timeout 0: expected more than 0"),
    (["run", "healthy", "--device", "tpu"], "--device 'tpu': expected cpu, cuda or cuda:N"),
    (["run", "healthy", "--config", "none.toml"], "--config none.toml: No such file or directory"),
    (["run", "healthy", "--colour"], "No such option"),
    (["report", "nowhere"], "there is no run folder nowhere"),
    (["show", "helthy"], "did you mean 'healthy'?"),
    (["check"], "name experiments to check, or give --all"),
    (["chek"], "there is no command 'chek'; did you mean 'check'?"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_clear_line_and_writes_nothing(dlbench, toys, tmp_path, arguments, message):
    before = sorted(tmp_path.iterdir())
    done = dlbench(*arguments, plugins=toys)
    assert done.status == 2, done.err
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_name_is_looked_for_before_a_process_is_started(monkeypatch, capsys):
    monkeypatch.setattr(Forkserver, "__enter__", lambda server: pytest.fail("a process was started"))
    with pytest.raises(SystemExit) as ended:
        main(["run", "helthy"])
    assert (ended.value.code, "there is no experiment 'helthy'" in capsys.readouterr().err) == (2, True)


def test_cuda_without_one(dlbench, toys, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    done = dlbench("run", "healthy", "--device", "cuda", plugins=toys)
    assert done.status == 2
    assert "sees no CUDA device; use --device cpu" in done.err
    assert not (tmp_path / "runs").exists()


CONFIGS = [
    ("seeds = 3\nseeds = 4\n", "c.toml: Cannot overwrite a value (at line 2"),
    ("seeds = \n", "(at line 1, column 9)"),
    ("sedes = 3\n", "c.toml: unknown key 'sedes'; did you mean 'seeds'?"),
    ('seeds = "3"\n', "c.toml: seeds is '3'; expected a whole number"),
    ("[healthy]\nefect = 1\n", "c.toml, line 2: healthy.efect: there is no such parameter"),
    slow("[healthy]\neffect = 'big'\n", "c.toml, line 2: healthy.effect: 'big' is not a number"),
    ("experiments = [1]\n", "c.toml: experiments is [1]; expected a list of names"),
    ("[helthy]\neffect = 1\n", "there is no experiment 'helthy'"),
]


@pytest.mark.parametrize(("text", "message"), CONFIGS)
def test_toml_with_an_error(dlbench, toys, tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    done = dlbench("run", "healthy", "--config", "c.toml", plugins=toys)
    assert done.status == 2, done.err
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_config_file_sets_and_the_command_line_wins(dlbench, toys, tmp_path):
    (tmp_path / "c.toml").write_text(
        'experiments = ["healthy"]\nseeds = 1\nout = "o"\n[healthy]\neffect = 2\nrows = 2\n'
    )
    assert dlbench("run", "--config", "c.toml", "--set", "healthy.rows=1", plugins=toys).status == 0
    [result] = read(tmp_path / "o").results
    assert result["parameters"] == {"effect": 2.0, "rows": 1, "sleep": 0.0}


@pytest.mark.parametrize("kind", ["file", "foreign", "newer", "below a file"])
def test_folders_that_cannot_be_used(dlbench, toys, tmp_path, kind):
    out = tmp_path / "o"
    if kind in ("file", "below a file"):
        out.write_text("precious")
    else:
        out.mkdir()
        (out / ("plan.json" if kind == "newer" else "thesis.tex")).write_text('{"schema": 99}')
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and toys not in p.parents}
    done = dlbench("run", "healthy", "--out", out / "x" if kind == "below a file" else out, plugins=toys)
    assert done.status == 2
    assert len(done.err.splitlines()) == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and toys not in p.parents} == before


def test_a_damaged_run_is_told_mended_and_never_misread(dlbench, toys, calm, tmp_path):
    before = measurements(calm)
    [segment] = (tmp_path / "o/segments").iterdir()
    lines = segment.read_bytes().split(b"\n")
    victim = next(i for i, line in enumerate(lines) if b'"result"' in line)
    lines[victim] = lines[victim].replace(b'"score": 4', b'"score": 9', 1)
    segment.write_bytes(b"\n".join(lines))
    doctor = dlbench("doctor", "o", plugins=toys)
    assert doctor.status == 1
    assert "is damaged (its checksum does not fit); its trial will run again" in doctor.out
    done = dlbench("run", "healthy", "--out", "o", plugins=toys)
    assert done.status == 0
    assert "1 trials to run, 5 in the store already" in done.err
    assert measurements(calm).equals(before)
    assert Path(segment).exists()
    assert decode(lines[0])["kind"] == "start"
