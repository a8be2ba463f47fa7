"""Attack steps beside what torch and other libraries do for the same, their rivals run in turns with them.

pytest tests/benchmarks/test_steps.py -m benchmark --benchmark-enable --benchmark-columns=median,rounds

"times" in extra_info is a rival's median over ours; "share of the C loop" compares the step with a loop in plain C that
reads three arrays and writes one, which is what a step cannot be faster than.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import pytest
import torch
from torch import Tensor

from dlbench import ops

from .turns import in_turns

pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore")]

SHAPES = [(128, 3, 32, 32), (64, 3, 224, 224)]
EPS, STEP = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}, {"linf": 2 / 255, "l2": 0.1, "l1": 2.0}

C_LOOP = """
#include <stddef.h>
void triad(float *out, const float *a, const float *b, const float *c, size_t n) {
#pragma omp parallel for simd schedule(static)
  for (size_t i = 0; i < n; ++i) out[i] = a[i] + b[i] * c[i];
}
"""


def state(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """A point outside of its ball, its centre, and a gradient."""
    random = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=random)
    return (x + 0.1 * torch.randn(shape, generator=random)).clamp(0, 1), x, torch.randn(shape, generator=random)


@pytest.fixture(scope="session")
def triad(tmp_path_factory):
    """A loop in C over three arrays read and one written, compiled as the kernels are."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("triad")
    (folder / "triad.c").write_text(C_LOOP)
    command = [compiler, "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "triad.c", "-o", "triad.so"]
    subprocess.run(command, cwd=folder, check=True)
    function = ctypes.CDLL(str(folder / "triad.so")).triad
    function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_size_t]
    return lambda *tensors: function(*(t.data_ptr() for t in tensors), tensors[0].numel())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linf_step(benchmark, shape, triad):
    x_adv, x, grad = state(shape)
    out = torch.empty(shape)

    def arithmetic(x_adv, x, grad):
        stepped = x_adv + STEP["linf"] * grad.sign()
        return torch.clamp(x + torch.clamp(stepped - x, -EPS["linf"], EPS["linf"]), 0, 1)

    compiled = torch.compile(arithmetic)
    rivals = {
        "eager": lambda: arithmetic(x_adv, x, grad),
        "torch.compile": lambda: compiled(x_adv, x, grad),
        "C loop": lambda: triad(out, x_adv, x, grad),
        "foolbox": foolbox_step("linf", x_adv, x, grad),
        "ART": art_step("linf", x_adv, x, grad),
    }

    def ours():
        return ops.linf_step_(x_adv, x, grad, eps=EPS["linf"], step_size=STEP["linf"])

    torch.testing.assert_close(rivals["eager"](), ours(), atol=1e-6, rtol=0)
    in_turns(benchmark, ours, rivals, rounds=60, primed=True, shape=list(shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_step_with_projection(benchmark, norm, shape):
    x_adv, x, grad = state(shape)
    start = x_adv.clone()
    take = ops.l2_step_ if norm == "l2" else ops.l1_step_
    more = {} if norm == "l2" else {"sparsity": 0.01}

    def ours():
        x_adv.copy_(start)  # where the step ends it would have nothing left to project
        return take(x_adv, x, grad, eps=EPS[norm], step_size=STEP[norm], **more)

    rivals = {
        "foolbox": foolbox_step(norm, start, x, grad),
        "ART": art_step(norm, start, x, grad),
        "copy": lambda: x_adv.copy_(start),
    }
    in_turns(benchmark, ours, rivals, rounds=15, primed=True, shape=list(shape), norm=norm)


def foolbox_step(norm: str, x_adv: Tensor, x: Tensor, grad: Tensor):
    """What foolbox does between two gradients, by its own functions."""
    foolbox, ep = pytest.importorskip("foolbox"), pytest.importorskip("eagerpy")
    attack = {
        "linf": foolbox.attacks.LinfPGD,
        "l2": foolbox.attacks.L2PGD,
        "l1": foolbox.attacks.SparseL1DescentAttack,
    }[norm]()
    bounds = foolbox.types.Bounds(0, 1)

    def step():
        here, centre, slope = ep.astensor(x_adv), ep.astensor(x), ep.astensor(grad)
        moved = here + STEP[norm] * attack.normalize(slope, x=here, bounds=bounds)
        return ep.clip(attack.project(moved, centre, EPS[norm]), *bounds).raw

    return step


def art_step(norm: str, x_adv: Tensor, x: Tensor, grad: Tensor):
    """What ART does between two gradients, by its own functions, around a classifier whose gradient is given."""
    pytest.importorskip("art")
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(x[0].numel(), 2))
    shape, loss = tuple(x.shape[1:]), torch.nn.CrossEntropyLoss()
    classifier = PyTorchClassifier(net, loss, shape, 2, clip_values=(0.0, 1.0), device_type="cpu")
    order = {"linf": float("inf"), "l2": 2, "l1": 1}[norm]
    attack = ProjectedGradientDescentPyTorch(classifier, norm=order, eps=EPS[norm], eps_step=STEP[norm], verbose=False)
    classifier.loss_gradient = lambda **_: grad.clone()  # what it may write to
    label = torch.zeros(len(x), 2)

    def step():
        return attack._compute_pytorch(x_adv, x, label, None, EPS[norm], STEP[norm], False, torch.zeros_like(x))

    return step
