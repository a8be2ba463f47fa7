"""Isolated tasks: whatever a task does ends that task, with a reason, and nobody survives."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dlbench.errors import DlbenchError
from dlbench.isolate import Ended, Forkserver, TaskFailed
from dlbench.isolate.server import _receive

TASKS = '''
import os, subprocess, sys, time, signal

def add(payload, send):
    send({"progress": 0.5, "note": "half"})
    return payload["a"] + payload["b"]

def say(payload, send):
    print("to stdout"); os.system("echo from a child; echo to stderr >&2"); return None

def raises(payload, send): raise ValueError("no\\nsuch thing")
def exits(payload, send): sys.exit(3)
def leaves(payload, send): os._exit(0)
def aborts(payload, send): os.abort()
def hangs(payload, send):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)

def hoards(payload, send):
    hoard = []
    while len(hoard) < 100:
        hoard.append(b"x" * 50_000_000)
        time.sleep(0.02)
    time.sleep(1000)

def hoards_in_a_child(payload, send):
    subprocess.run([sys.executable, "-c", "x = b'x' * 800_000_000; import time; time.sleep(1000)"])

def family(payload, send):
    """A child in the task's group, and one that escapes into a session of its own."""
    one = subprocess.Popen(["sleep", "1000"])
    two = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    send({"pids": [os.getpid(), one.pid, two.pid]})
    if payload.get("hang"):
        time.sleep(1000)
    return None

def chatters(payload, send):
    for i in range(20000):
        send({"progress": i / 20000, "note": "x" * 50})
    return "done"

def scribbles(payload, send):
    for descriptor in range(3, 30):
        try:
            os.write(descriptor, payload["text"].encode())
        except OSError:
            pass
    time.sleep(1000)

def environment(payload, send):
    import torch
    return {"threads": torch.get_num_threads(), "omp": os.environ["OMP_NUM_THREADS"], "pid": os.getpid(),
            "stdin": sys.stdin.read(), "group": os.getpgid(0)}
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tasks_for_tests.py").write_text(TASKS)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    try:
        with Forkserver(preload=("torch",)) as running:
            yield running
    finally:
        os.environ["PYTHONPATH"] = before


def run(server, name, payload=None, **limits):
    task = server.start(f"tasks_for_tests:{name}", payload or {}, **limits)
    messages = []
    while True:
        for whose, event in server.wait():
            assert whose is task
            if isinstance(event, Ended):
                return event, messages
            messages.append(event)


def gone(pid):
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_value_progress_and_accounting(server):
    ended, messages = run(server, "add", {"a": 2, "b": 3})
    assert (ended.how, ended.value) == ("returned", 5)
    assert messages == [{"progress": 0.5, "note": "half"}]
    assert 0 < ended.cpu_s < ended.wall_s + 1
    assert ended.peak_rss_bytes > 2**20


def test_call(server):
    assert server.call("tasks_for_tests:add", {"a": "x", "b": "y"}) == "xy"
    with pytest.raises(TaskFailed, match="ValueError: no"):
        server.call("tasks_for_tests:raises", {})
    with pytest.raises(TaskFailed, match=r"No module named 'nowhere'"):
        server.call("nowhere:f", {})


def test_the_task_is_what_it_should_be(server):
    ended, _ = run(server, "environment")
    assert ended.value["threads"] == 1
    assert ended.value["omp"] == "1"
    assert ended.value["stdin"] == ""
    assert ended.value["group"] == ended.value["pid"] != os.getpgid(0)


@pytest.mark.parametrize(
    ("task", "limits", "how", "reason"),
    [
        ("raises", {}, "raised", "ValueError: no\nsuch thing"),
        ("exits", {}, "raised", "SystemExit: 3"),
        ("leaves", {}, "crashed", "its process exited with status 0 and no result"),
        ("aborts", {}, "crashed", "killed by SIGABRT"),
        ("hangs", {"timeout": 0.5}, "timeout", "still running after its limit of 0.5 s"),
        ("hoards", {"memory": 0.6 * 2**30}, "out_of_memory", "the limit is 0.60 GiB"),
        ("hoards_in_a_child", {"memory": 0.7 * 2**30}, "out_of_memory", "the limit is 0.70 GiB"),
    ],
)
def test_every_end_has_its_name(server, task, limits, how, reason):
    ended, _ = run(server, task, **limits)
    assert ended.how == how
    assert reason in ended.reason
    assert server.call("tasks_for_tests:add", {"a": 1, "b": 1}) == 2


def test_output_goes_to_the_log(server, tmp_path):
    run(server, "say", log=tmp_path / "log")
    assert sorted((tmp_path / "log").read_text().split("\n")) == ["", "from a child", "to stderr", "to stdout"]
    run(server, "raises", log=tmp_path / "log")
    assert "ValueError: no" in (tmp_path / "log").read_text()


def test_a_log_that_grows_without_end_is_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr("dlbench.isolate.client.LOG_LIMIT", 5)
    task = server.start("tasks_for_tests:hangs", {}, log=tmp_path / "log", timeout=30)
    (tmp_path / "log").write_text("more than five")
    ended = [event for _, event in server.wait(5) if isinstance(event, Ended)]
    assert [e.how for e in ended] == ["log_full"], task


@pytest.mark.parametrize("hang", [False, True])
def test_nothing_of_a_task_survives_it(server, hang):
    ended, [message] = run(server, "family", {"hang": hang}, timeout=1.0)
    assert ended.how == ("timeout" if hang else "returned")
    assert all(gone(pid) for pid in message["pids"])


def test_many_messages_arrive_in_order(server):
    ended, messages = run(server, "chatters")
    assert ended.value == "done"
    assert [m["progress"] for m in messages] == [i / 20000 for i in range(20000)]


@pytest.mark.parametrize("text", ["not json\n", "[1]\n", "3\n"])
def test_a_stray_write_into_the_pipe_ends_that_task_only(server, text):
    ended, _ = run(server, "scribbles", {"text": text}, timeout=20)
    assert ended.how == "crashed"
    assert "no message" in ended.reason
    assert server.call("tasks_for_tests:add", {"a": 1, "b": 1}) == 2


def test_two_at_a_time(server):
    tasks = [server.start("tasks_for_tests:add", {"a": i, "b": 0}) for i in range(8)]
    values = {}
    while len(values) < 8:
        values |= {task: event.value for task, event in server.wait() if isinstance(event, Ended)}
    assert [values[task] for task in tasks] == list(range(8))


def test_the_server_may_die(server):
    task = server.start("tasks_for_tests:family", {"hang": True})
    pids = []
    while not pids:
        pids = [pid for _, event in server.wait() if isinstance(event, dict) for pid in event["pids"]]
    server._process.kill()
    ended = []
    while not ended:
        ended = [event for whose, event in server.wait() if whose is task and isinstance(event, Ended)]
    assert ended[0].how == "crashed"
    assert "the process it was started from ended" in ended[0].reason
    assert all(gone(pid) for pid in pids[:2])  # the one that left its group cannot be known once the server is gone
    os.kill(pids[2], 9)
    assert server.call("tasks_for_tests:add", {"a": 1, "b": 1}) == 2


def test_a_driver_that_is_killed_takes_everyone_along(tmp_path):
    (tmp_path / "tasks_for_tests.py").write_text(TASKS)
    script = """
from dlbench.isolate import Forkserver
with Forkserver(preload=()) as server:
    server.start("tasks_for_tests:family", {"hang": True})
    while True:
        for _, event in server.wait():
            print(server._process.pid, *event["pids"], flush=True)
"""
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    driver = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    )
    pids = [int(word) for word in driver.stdout.readline().split()]
    assert len(pids) == 4
    driver.kill()
    driver.wait()
    driver.stdout.close()
    assert all(gone(pid) for pid in pids)


def test_a_server_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DlbenchError, match="ended with status 1"), Forkserver():
        pass
    assert Path("/bin/false").exists()


def test_a_driver_that_leaves_without_reading_is_gone_and_no_error():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(b"never read")
        ours.close()
        assert _receive(theirs) == (b"", [])
