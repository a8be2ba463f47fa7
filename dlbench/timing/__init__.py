"""Experiments and operators as items of pytest-benchmark: ``pytest --dlbench=quick``.

An experiment's item runs a trial a round, each with the next seed, in a process of its own as ``dlbench run`` does it;
the time is taken in there, so that neither the process's start nor the plugin's import is in it. Besides timings its
``extra_info`` has the measurements, and with seeds enough the verdicts on its claims. An operator's item calls it in
this process; beside its timings stand the bytes and floating-point operations that it cannot do without.

A distribution has its own operators timed by an entry point in the group ``dlbench.ops`` that names a function from a
preset to cases::

    def my_op(preset: str) -> list[Case]:
        n = {"quick": 10_000, "full": 10_000_000}[preset]

        def prepare(device):
            x = torch.ones(n, device=device)
            return lambda: my_package.my_op(x)

        return [Case(f"{n}", prepare, moved=8 * n, flops=n)]
"""

from dlbench.timing.cases import Case

__all__ = ["Case"]
