"""Run a function in a process of its own, started in milliseconds, limited in time and memory, dead when we are.

:class:`Forkserver` starts one server process that has torch imported; each task is a fork of it, in a process group of
its own. Whatever a task does (raises, hangs, eats memory, segfaults, calls ``sys.exit``) ends that task only.
multiprocessing has a forkserver too, but its children outlive a driver that is killed, re-import the driver's main
module, and report neither resource use nor their whole tree; see ``server.py`` for the protocol.
"""

from dlbench.isolate.client import Ended, Forkserver, Task, TaskFailed

__all__ = ["Ended", "Forkserver", "Task", "TaskFailed"]
