"""Keep freed memory in the process, so that the next large tensor need not fault its pages in again.

glibc hands every block above its mmap threshold back to the kernel when it is freed. torch on a CPU pays for that at
every step of every large tensor: ten times the cost of the write itself.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_warm() -> str:
    """Tell malloc to serve everything from the heap and never to trim it; returns "warm", or "default" elsewhere."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return "default"
    return "warm" if mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER) else "default"
