"""The process that tasks are forked from.

It is single-threaded, so forking it is safe, and does nothing but wait. One message a datagram on a Unix socket, JSON:

driver → server   {"start": id, "call": "module:function"}  with three descriptors: payload, results, log
                  {"kill": id}                              SIGKILL to the task's process group
                  {"preload": ["module", ...]}              import, so that later tasks find it imported
server → driver   {"ready": {...}}                          once, after preloading
                  {"started": id, "pid": pid}
                  {"exited": id, "status": wait status, "cpu_s": s, "peak_rss_bytes": bytes}

A task calls ``function(payload, send)`` where payload is unpickled from its descriptor and ``send(dict)`` writes a
line of JSON to the results pipe. It ends with a line {"returned": value} or {"raised": type, "message", "traceback"};
a process that ends without either has crashed.

Nobody survives: when the driver dies the socket closes, and the server kills every group and leaves; when the server
dies its children get SIGKILL from the kernel; a grandchild that escaped into a session of its own is re-parented to
the server, which kills it once its task is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import pickle
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from dlbench.isolate import heap

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_DESCRIPTORS = 3


def main(control: socket.socket, preload: Sequence[str]) -> None:
    """Serve until the driver closes its end of the control socket."""
    begin = time.monotonic()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    warm = heap.keep_warm()
    _import_all(preload)
    gc.freeze()  # what is alive now stays: collections in the children need not touch (and copy) its pages
    tasks: dict[int, int] = {}  # pid → task id
    _tell(control, {"ready": {"seconds": time.monotonic() - begin, "heap": warm}})
    while True:
        readable, _, _ = select.select([control.fileno(), wake_read], [], [])
        if wake_read in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
            _reap(control, tasks)
        if control.fileno() in readable:
            message, descriptors = _receive(control)
            if not message:
                break
            request = json.loads(message)
            if "start" in request:
                pid = _fork(control, request["call"], descriptors)
                tasks[pid] = request["start"]
                _tell(control, {"started": request["start"], "pid": pid})
            elif "kill" in request:
                for pid in [pid for pid, task in tasks.items() if task == request["kill"]]:
                    _kill_group(pid)
            elif "preload" in request:
                _import_all(request["preload"])
            for descriptor in descriptors:
                os.close(descriptor)
    for pid in tasks:
        _kill_group(pid)
    with contextlib.suppress(
        ChildProcessError
    ):  # until nobody is left: what a task leaves becomes our child as it dies
        while True:
            _kill_orphans({})
            os.wait()


def _fork(control: socket.socket, call: str, descriptors: Sequence[int]) -> int:
    server = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it died before the line above took effect
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        _task(call, *descriptors)
    finally:
        os._exit(70)


def _task(call: str, payload: int, results: int, log: int) -> NoReturn:
    """The life of a task process, after the fork."""
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.stdin, sys.stdout, sys.stderr = (
        open(0, encoding="utf-8"),  # noqa: SIM115 - descriptors, not paths
        open(1, "w", encoding="utf-8", errors="replace", buffering=1),  # noqa: SIM115
        open(2, "w", encoding="utf-8", errors="replace", buffering=1),  # noqa: SIM115
    )
    faulthandler.enable(sys.stderr)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # if the kernel runs out of memory, it is the task that should go
        Path("/proc/self/oom_score_adj").write_text("500")

    def send(message: dict[str, Any]) -> None:
        line = memoryview(json.dumps(message).encode() + b"\n")
        while line:
            line = line[os.write(results, line) :]

    try:
        with os.fdopen(payload, "rb") as file:
            arguments = pickle.load(file)  # noqa: S301 - written by our own driver
        module, _, name = call.partition(":")
        send({"returned": getattr(importlib.import_module(module), name)(arguments, send)})
    except BaseException as error:  # sys.exit in a plugin is a failure of the plugin
        send({"raised": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()})
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def _reap(control: socket.socket, tasks: dict[int, int]) -> None:
    """Report every child that has ended; kill what is left of its group before its pid can be used again."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        pid = ended.si_pid
        if pid in tasks:
            _kill_group(pid)
        _, status, usage = os.wait4(pid, 0)
        if pid in tasks:
            task = tasks.pop(pid)
            _kill_orphans(tasks)
            cpu = usage.ru_utime + usage.ru_stime
            _tell(control, {"exited": task, "status": status, "cpu_s": cpu, "peak_rss_bytes": usage.ru_maxrss * 1024})


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _kill_orphans(tasks: dict[int, int]) -> None:
    """Kill descendants that were re-parented to us and belong to no running task's group."""
    with contextlib.suppress(OSError):
        for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
            with contextlib.suppress(ProcessLookupError):
                if pid not in tasks and os.getpgid(pid) not in tasks:
                    os.kill(pid, signal.SIGKILL)


def _import_all(modules: Sequence[str]) -> None:
    """Import what is there; a plugin's own imports report what is not."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """The driver's next message and its descriptors; an empty one when the driver is gone."""
    try:
        message, descriptors, _, _ = socket.recv_fds(control, 65536, _DESCRIPTORS)
    except ConnectionResetError:  # gone without having read all that it was told
        return b"", []
    return message, descriptors


def _tell(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the driver is gone; the loop notices
        control.send(json.dumps(message).encode())


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere the socket's end is the only watch
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
    os._exit(0)  # there is nothing to write, and taking torch apart would keep the driver waiting
