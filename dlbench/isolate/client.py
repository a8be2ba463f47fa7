"""The driver's side: start tasks, hear from them, enforce their limits."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from dlbench.errors import DlbenchError

PRELOAD = ("torch", "numpy", "scipy.linalg", "dlbench.ops", "dlbench.runner.trial")
LOG_LIMIT = 64 * 2**20
MESSAGE_LIMIT = 512 * 2**20
_WATCH_EVERY = 0.25


class TaskFailed(DlbenchError):
    """A task that was called for its value ended without one."""


@dataclass(frozen=True)
class Ended:
    """How a task ended.

    ``how``: returned, raised, crashed (a signal, or an exit without a result), timeout, out_of_memory or log_full.
    """

    how: str
    value: Any = None
    reason: str = ""
    details: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0


@dataclass(eq=False)
class Task:
    """A running task, as the driver sees it."""

    id: int
    timeout: float
    memory: float
    log: Path | None
    results: int
    begun: float = field(default_factory=time.monotonic)
    pid: int | None = None
    peak_rss_bytes: int = 0
    verdict: str = ""  # why we killed it, if we did
    final: dict[str, Any] | None = None  # its last line: returned or raised
    _buffer: bytearray = field(default_factory=bytearray)

    @property
    def seconds(self) -> float:
        """Wall time since it was started."""
        return time.monotonic() - self.begun


class Forkserver:
    """Starts tasks as forks of a process that has torch imported.

    Use as a context manager. ``threads`` is the number of threads that torch, OpenMP and BLAS use in each task.
    """

    def __init__(self, threads: int = 1, preload: Sequence[str] = PRELOAD) -> None:
        self.threads = threads
        self.preload_modules = tuple(preload)
        self.facts: dict[str, Any] = {}
        self._tasks: dict[int, Task] = {}
        self._pending: deque[tuple[Task, dict[str, Any] | Ended]] = deque()
        self._next_id = 0
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Forkserver:
        self._spawn()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- tasks

    def start(
        self,
        call: str,
        payload: Mapping[str, Any],
        *,
        timeout: float = float("inf"),
        memory: float = float("inf"),
        log: Path | None = None,
    ) -> Task:
        """Start ``call`` ("module:function") on a payload.

        Args:
            call: a function of (payload, send), importable in the server.
            payload: pickled to the task.
            timeout: wall-clock seconds after which the task's whole process group is killed.
            memory: bytes of resident memory of the task's process tree, above which it is killed.
            log: file that its standard output and error are appended to; None discards them.
        """
        self._next_id += 1
        results, results_write = os.pipe()
        os.set_blocking(results, False)
        with tempfile.TemporaryFile() as payload_file, open(log or os.devnull, "ab") as log_file:  # noqa: PTH123
            pickle.dump(dict(payload), payload_file, protocol=pickle.HIGHEST_PROTOCOL)
            payload_file.seek(0)
            task = Task(self._next_id, timeout, memory, log, results)
            message = json.dumps({"start": task.id, "call": call}).encode()
            descriptors = [payload_file.fileno(), results_write, log_file.fileno()]
            try:
                socket.send_fds(self._control, [message], descriptors)
            except OSError:  # the server died between two tasks
                self._respawn()
                socket.send_fds(self._control, [message], descriptors)
            finally:
                os.close(results_write)
        self._tasks[task.id] = task
        self._selector.register(results, selectors.EVENT_READ, task)
        return task

    def wait(self, timeout: float = 1.0) -> list[tuple[Task, dict[str, Any] | Ended]]:
        """What the tasks have sent, and which have ended, within at most ``timeout`` seconds.

        Messages of a task come in order, its :class:`Ended` last.
        """
        deadline = time.monotonic() + timeout
        while not self._pending:
            left = min(deadline - time.monotonic(), _WATCH_EVERY)
            for key, _ in self._selector.select(max(left, 0.0)):
                if key.data is None:
                    self._hear_server()
                elif key.data.id in self._tasks:  # it may have ended while this batch of news was read
                    self._hear_task(key.data)
            self._enforce_limits()
            if time.monotonic() >= deadline:
                break
        events = list(self._pending)
        self._pending.clear()
        return events

    def call(self, call: str, payload: Mapping[str, Any], timeout: float = float("inf")) -> Any:
        """Start a task and wait for its value; TaskFailed with one line if it ends without one.

        Only for use while no other task runs: what others send meanwhile is kept for the next :meth:`wait`.
        """
        task = self.start(call, payload, timeout=timeout)
        kept: list[tuple[Task, dict[str, Any] | Ended]] = []
        while True:
            for whose, event in self.wait():
                if whose is not task:
                    kept.append((whose, event))
                elif isinstance(event, Ended):
                    self._pending.extendleft(reversed(kept))
                    if event.how != "returned":
                        raise TaskFailed(event.reason)
                    return event.value

    def kill(self, task: Task) -> None:
        """Kill a task with all its descendants; its Ended still comes."""
        import psutil

        descendants = []
        if task.pid is not None:
            with contextlib.suppress(psutil.Error):
                descendants = psutil.Process(task.pid).children(recursive=True)
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"kill": task.id}).encode())
        for process in descendants:  # also those that moved to a session of their own
            with contextlib.suppress(psutil.Error):
                process.kill()

    def preload(self, *modules: str) -> None:
        """Have the server import modules that later tasks will need."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"preload": modules}).encode())

    def close(self) -> None:
        """End the server and with it every task."""
        self._control.close()  # the server takes this as its end
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for task in self._tasks.values():
            os.close(task.results)
        self._tasks.clear()
        self._selector.close()

    # ------------------------------------------------------------------------------------------------------ inside

    def _spawn(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "dlbench.isolate.server", str(theirs.fileno()), *self.preload_modules]
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | self._environment(),
            )
        ready = self._control.recv(65536)
        if not ready:
            self._control.close()
            raise DlbenchError(f"the process that trials start from ended with status {self._process.wait()}")
        self.facts = json.loads(ready)["ready"]
        self._selector.register(self._control, selectors.EVENT_READ, None)

    def _environment(self) -> dict[str, str]:
        """What must be set before torch is imported: explicit thread counts and deterministic kernels."""
        threads = {f"{name}_NUM_THREADS": str(self.threads) for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
        return threads | {
            "PYTHONHASHSEED": "0",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # a CUDA context in the server would not survive its forks
            "MPLBACKEND": "Agg",
        }

    def _respawn(self) -> None:
        """The server died; so did its tasks (the kernel saw to it). Tell of them and start another."""
        self._selector.unregister(self._control)
        self._control.close()
        status = self._process.wait()
        for task in list(self._tasks.values()):
            if task.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(task.pid, signal.SIGKILL)
            self._end(task, {"status": 9, "reason": f"the process it was started from ended with status {status}"})
        self._spawn()

    def _hear_server(self) -> None:
        message = self._control.recv(65536)
        if not message:
            self._respawn()
            return
        event = json.loads(message)
        task = self._tasks.get(event.get("started", event.get("exited")))
        if task is None:
            return
        if "started" in event:
            task.pid = event["pid"]
        else:
            self._hear_task(task)
            self._end(task, event)

    def _hear_task(self, task: Task) -> None:
        """Take what is in the task's pipe; whole lines become events."""
        while True:
            try:
                chunk = os.read(task.results, 1 << 20)
            except BlockingIOError:
                break
            if not chunk:
                if task.results in self._selector.get_map():
                    self._selector.unregister(task.results)
                break
            task._buffer += chunk
        *lines, rest = task._buffer.split(b"\n")
        task._buffer = bytearray(rest)
        for line in lines:
            message = _message(bytes(line))
            if message is None or len(rest) > MESSAGE_LIMIT:  # a stray write: nothing after it can be trusted
                task.verdict = task.verdict or "garbage"
                task._buffer.clear()
                self.kill(task)
                return
            if "returned" in message or "raised" in message:
                task.final = message
            else:
                self._pending.append((task, message))

    def _end(self, task: Task, event: dict[str, Any]) -> None:
        del self._tasks[task.id]
        if task.results in self._selector.get_map():
            self._selector.unregister(task.results)
        os.close(task.results)
        peak = max(task.peak_rss_bytes, event.get("peak_rss_bytes", 0))
        how, value, reason, details = self._judge(task, event)
        ended = Ended(how, value, reason, details, task.seconds, event.get("cpu_s", 0.0), peak)
        self._pending.append((task, ended))

    def _judge(self, task: Task, event: dict[str, Any]) -> tuple[str, Any, str, str]:
        """(how, value, reason, details) from what we did to it, what it said, and its wait status."""
        final, status = task.final, event["status"]
        if task.verdict == "garbage":
            return "crashed", None, "it wrote something that is no message into the pipe that results come through", ""
        if final is not None and "returned" in final:
            return "returned", final["returned"], "", ""
        if task.verdict == "timeout":
            return "timeout", None, f"still running after its limit of {task.timeout:g} s", ""
        if task.verdict == "out_of_memory":
            used, limit = task.peak_rss_bytes / 2**30, task.memory / 2**30
            return "out_of_memory", None, f"its processes held {used:.2f} GiB, the limit is {limit:.2f} GiB", ""
        if task.verdict == "log_full":
            return "log_full", None, f"it wrote more than {LOG_LIMIT >> 20} MiB to its log", ""
        if final is not None:
            return "raised", None, f"{final['raised']}: {final['message']}", final["traceback"]
        if "reason" in event:
            return "crashed", None, event["reason"], ""
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return "crashed", None, f"killed by {signal.Signals(number).name}", ""
        return "crashed", None, f"its process exited with status {os.waitstatus_to_exitcode(status)} and no result", ""

    def _enforce_limits(self) -> None:
        now = time.monotonic()
        if now < getattr(self, "_watched", 0.0) + _WATCH_EVERY:
            return
        self._watched = now
        for task in list(self._tasks.values()):
            if task.verdict or task.final is not None:
                continue
            if task.seconds > task.timeout:
                task.verdict = "timeout"
            elif self._resident(task) > task.memory:
                task.verdict = "out_of_memory"
            elif task.log is not None and task.log.exists() and task.log.stat().st_size > LOG_LIMIT:
                task.verdict = "log_full"
            if task.verdict:
                self.kill(task)

    def _resident(self, task: Task) -> int:
        """Bytes resident in the task's process tree now; the peak is kept."""
        import psutil

        total = 0
        if task.pid is not None:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(task.pid)
                for member in (process, *process.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        total += member.memory_info().rss
        task.peak_rss_bytes = max(task.peak_rss_bytes, total)
        return total


def _message(line: bytes) -> dict[str, Any] | None:
    """A line of a task's pipe, or None if it is no message."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
