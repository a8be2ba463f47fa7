"""The operators as torch sees them: schemas, fake kernels, autograd, compilation; and what the library says."""

from __future__ import annotations

import dataclasses
import os
import threading

import pytest
import torch

from dlbench import ops
from dlbench.ops import Graph, loader, recipe

GRAPH = Graph.from_edge_index(torch.tensor([[0, 4, 2, 1, 1, 3, 0], [3, 1, 1, 0, 2, 3, 3]]), (5, 4))
CSR = (GRAPH.rowptr, GRAPH.col, GRAPH.edge_id)
BACK = (GRAPH.transpose.rowptr, GRAPH.transpose.col, GRAPH.transpose.edge_id)
NONE = (None, None, None)
STREAMS = torch.tensor([[0, 0], [7, 1], [-(2**40), 2]])
LABELS = torch.tensor([0, 1, 5, 3])


def sample(*shape, dtype=torch.float32, grad=False):
    return torch.randn(*shape, dtype=torch.float64).to(dtype).requires_grad_(grad)


def channels_last(x):
    return x.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("schema", loader.schemas(), ids=lambda schema: schema.partition("(")[0])
def test_schemas_are_those_of_the_file(schema):
    packet = getattr(torch.ops.dlbench, schema.partition("(")[0])
    assert packet.overloads() == ["default"]
    assert packet.default._schema == torch._C.parse_schema("dlbench::" + schema)


def apgd_state(*shape):
    state = ops.ApgdState.start(sample(*shape))
    return [getattr(state, field.name) for field in dataclasses.fields(state)]


def winners(*shape):
    """The last edge of every row; row 2 has none."""
    last = (GRAPH.rowptr[1:] - 1).where(GRAPH.in_degree > 0, GRAPH.num_edges).int()
    return last.reshape(-1, *(1,) * (len(shape) - 1)).expand(shape).contiguous()


APGD = (sample(3, dtype=torch.float64), 0.1, 0.2, 0.0, 1.0, None, 0.25, 0, 0.75, "linf")

CASES = {
    "step": ("linf_step_", lambda: (sample(3, 5), sample(3, 5), sample(3, 5), 0.1, 0.01, 0.0, 1.0)),
    "step of float64 by bfloat16": (
        "linf_step_",
        lambda: (*(sample(4, dtype=torch.float64) for _ in "12"), sample(4, dtype=torch.bfloat16), 0.1, 0.01, 0.0, 1.0),
    ),
    "step with all options": (
        "linf_step_",
        lambda: (
            *(sample(3, 5) for _ in "123"),
            0.0,
            0.0,
            0.0,
            0.0,
            sample(4, 3, 5).abs(),
            torch.zeros(3, dtype=torch.int64),
            torch.zeros(3, 4, dtype=torch.int64),
        ),
    ),
    "apgd step": ("apgd_step_", lambda: (*apgd_state(3, 5), *(sample(3, 5) for _ in "12"), *APGD)),
    "apgd step with all options": (
        "apgd_step_",
        lambda: (
            *apgd_state(3, 5, 2),
            *(sample(3, 5, 2) for _ in "12"),
            *(*APGD[:5], sample(4, 3, 5).abs().sort(dim=0).values, 0.25, 2, 0.75, "l2"),
            torch.zeros(3, 4, dtype=torch.int64),
        ),
    ),
    "L2 step": ("l2_step_", lambda: (sample(3, 5), sample(3, 5), sample(3, 5), 0.5, 0.2, 0.0, 1.0)),
    "L2 step with all options": (
        "l2_step_",
        lambda: (
            *(sample(3, 5) for _ in "12"),
            sample(3, 5, dtype=torch.float16),
            0.0,
            0.0,
            0.0,
            0.0,
            sample(4, 3, 5).abs().sort(dim=0).values,
            torch.zeros(3, 4, dtype=torch.int64),
        ),
    ),
    "L1 step": ("l1_step_", lambda: (sample(3, 5), sample(3, 5), sample(3, 5), 0.5, 0.2, 0.0, 1.0, 0.3)),
    "L1 step with all options": (
        "l1_step_",
        lambda: (
            *(sample(3, 5, dtype=torch.float64) for _ in "12"),
            sample(3, 5, dtype=torch.bfloat16),
            0.0,
            0.0,
            0.0,
            0.0,
            1.0,
            sample(4, 1, 5, dtype=torch.float64).abs().sort(dim=0).values,
            torch.full((3,), 0.5, dtype=torch.float64),
            torch.zeros(3, 4, dtype=torch.int64),
        ),
    ),
    "momentum step": (
        "momentum_step_",
        lambda: (*(sample(3, 5) for _ in "1234"), 0.9, 0.1, 0.02, 0.0, 1.0),
    ),
    "momentum step with all options": (
        "momentum_step_",
        lambda: (
            *(sample(3, 5, dtype=torch.float64) for _ in "12"),
            sample(3, 5, dtype=torch.bfloat16),
            sample(3, 5, dtype=torch.float64),
            1.0,
            0.0,
            0.0,
            0.0,
            0.0,
            sample(4, 3, 5, dtype=torch.float64).abs(),
            torch.zeros(3, 4, dtype=torch.int64),
        ),
    ),
    "L2 projection": ("project_", lambda: (sample(3, 5), sample(3, 5), 0.5, 0.0, 1.0, "l2")),
    "L1 projection": (
        "project_",
        lambda: (sample(3, 5), sample(3, 5), 0.0, 0.0, 0.0, "l1", sample(4, 3, 1).abs().sort(dim=0).values),
    ),
    "sum": ("aggregate", lambda: (sample(5, 6, grad=True), *CSR, None, *BACK, "sum")),
    "weighted sum": ("aggregate", lambda: (sample(5, 6, grad=True), *CSR, sample(7, grad=True), *BACK, "sum")),
    "sum without transpose": ("aggregate", lambda: (sample(5, 6, grad=True), *CSR, sample(7, grad=True), *NONE, "sum")),
    "sum of halves": ("aggregate", lambda: (sample(5, 6, dtype=torch.bfloat16), *CSR, sample(7), *NONE, "sum")),
    "mean": ("aggregate", lambda: (sample(5, 6, grad=True), *CSR, sample(7, grad=True), *BACK, "mean", True)),
    "sum over uneven rows": (
        "aggregate",
        lambda: (sample(5, 6, grad=True), *CSR, sample(7, grad=True), *BACK, "sum", True, True, False),
    ),
    "max": ("aggregate", lambda: (sample(5, 6, grad=True), *CSR, sample(7, grad=True), *BACK, "max")),
    "std": ("aggregate", lambda: (sample(5, 6, grad=True), *CSR, sample(7, grad=True), *BACK, "std")),
    "mean by heads": (
        "aggregate",
        lambda: (sample(5, 3, 2, grad=True), *CSR, sample(7, 3, grad=True), *NONE, "mean"),
    ),
    "min and its winners": ("aggregate_arg", lambda: (sample(5, 6, grad=True), *CSR, None, *NONE, "min")),
    "max over uneven rows": (
        "aggregate_arg",
        lambda: (sample(5, 6, grad=True), *CSR, None, *BACK, "max", True, True),
    ),
    "max by heads and its winners": (
        "aggregate_arg",
        lambda: (sample(5, 3, 2, dtype=torch.float64, grad=True), *CSR, sample(7, 3, grad=True), *BACK, "max"),
    ),
    "winners' gradients": (
        "scatter_winners",
        lambda: (sample(4, 3, 2), winners(4, 3, 2), *CSR, sample(7, 3), *BACK, 5, False),
    ),
    "winners' dots": ("winner_dots", lambda: (sample(4, 6), sample(5, 6), winners(4, 6), *CSR, False)),
    "winners' dots by heads": (
        "winner_dots",
        lambda: (sample(4, 3, 2), sample(5, 3, 2, dtype=torch.float16), winners(4, 3, 2), *CSR, True),
    ),
    "rows of edges": ("csr_from_coo", lambda: (torch.tensor([2, 0, 2]), torch.tensor([1, 4, 0]), 3, 5)),
    "transpose": ("csr_transpose", lambda: (*CSR, 5)),
    "sum without features": ("aggregate", lambda: (sample(5, 0, grad=True), *CSR, None, *BACK, "sum")),
    "dot": ("sddmm", lambda: (sample(4, 6, grad=True), sample(5, 6, grad=True), *CSR, *BACK)),
    "dot by heads into float64": (
        "sddmm",
        lambda: (sample(4, 3, 2, grad=True), sample(5, 3, 2, grad=True), *CSR, *BACK, torch.float64, True),
    ),
    "dot over uneven rows": (
        "sddmm",
        lambda: (sample(4, 6, grad=True), sample(5, 6, grad=True), *CSR, *BACK, None, True, False, True),
    ),
    "dot without transpose": ("sddmm", lambda: (sample(4, 6, grad=True), sample(5, 6, grad=True), *CSR, *NONE)),
    "start": ("random_start", lambda: (sample(3, 5), STREAMS, "linf", 7, 0.1, 0.0, 1.0, None)),
    "start, channels last": (
        "random_start",
        lambda: (channels_last(sample(3, 2, 4, 4)), STREAMS, "l2", 7, 0.1, 0.0, 1.0, None),
    ),
    "start, other layout": ("random_start", lambda: (sample(4, 3).t()[:3], STREAMS, "l1", 7, 0.1, 0.0, 1.0, None)),
    "start by limits": (
        "random_start",
        lambda: (sample(3, 5, dtype=torch.float64), STREAMS, "l1", 7, 0.0, 0.0, 0.0, torch.rand(4, 3, 5).double()),
    ),
    "margin": ("margin_loss", lambda: (sample(4, 6, grad=True), LABELS)),
    "margin of halves": ("margin_loss", lambda: (sample(4, 6, dtype=torch.bfloat16, grad=True), LABELS)),
    "ratio": ("dlr_loss", lambda: (sample(4, 6, dtype=torch.float64, grad=True), LABELS, None)),
    "targeted ratio": ("dlr_loss", lambda: (sample(4, 6, grad=True), LABELS, LABELS.flip(0))),
    "slopes": ("scatter_slopes", lambda: (torch.tensor([[0, 1], [1, 1], [2, 0]]), sample(3, 2), sample(3), 5)),
    "norms": ("lp_norms", lambda: (sample(3, 5), sample(3, 5))),
    "norms of one": ("lp_norms", lambda: (channels_last(sample(3, 2, 4, 4, dtype=torch.float16)), None)),
    "compact": (
        "compact",
        lambda: (
            LABELS > 2,
            [sample(4, 5), LABELS, channels_last(sample(4, 2, 3, 3)), sample(4, 3, 2).transpose(1, 2)],
        ),
    ),
    "compact nothing": ("compact", lambda: (LABELS > 2, [])),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CASES)
def test_opcheck(case):
    name, arguments = CASES[case]
    torch.library.opcheck(getattr(torch.ops.dlbench, name).default, arguments())


def compiled(function, **options):
    """Whole graphs only. aot_eager traces and functionalises as every back end does, without calling a C++ compiler."""
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestCompile:
    def test_step(self):
        @compiled
        def attack(x_adv, x, grad):
            for _ in range(2):
                ops.linf_step_(x_adv, x, grad, eps=0.1, step_size=0.07)
            return x_adv + 1

        x, grad = torch.rand(7), torch.randn(7)
        x_adv = x.clone()
        out = attack(x_adv, x, grad)
        want = x.clone()
        for _ in range(2):
            ops.linf_step_(want, x, grad, eps=0.1, step_size=0.07)
        assert torch.equal(x_adv, want) and torch.equal(out, want + 1)

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_apgd_step(self, norm):
        def attack(state, x, grad):
            for k in range(3):
                loss = (state.x_adv * grad).sum(1)
                momentum, since = 0.25 * (k > 0), 2 * (k == 2)
                ops.apgd_step_(state, x, grad, loss, eps=0.1, momentum=momentum, since_checkpoint=since, norm=norm)
            return state.x_adv + 1

        x, grad = torch.rand(3, 7), torch.randn(3, 7)
        states = [ops.ApgdState.start(x) for _ in "12"]
        assert torch.equal(compiled(attack)(states[0], x, grad), attack(states[1], x, grad))
        for field in dataclasses.fields(states[0]):
            a, b = (getattr(state, field.name) for state in states)
            assert torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)), field.name

    def test_steps_in_balls(self):
        def attack(x_adv, x, grad):
            ops.l2_step_(x_adv, x, grad, eps=0.5, step_size=0.2)
            ops.l1_step_(x_adv, x, grad, eps=2.0, step_size=0.4, sparsity=0.5)
            momentum = torch.zeros_like(x)
            ops.momentum_step_(x_adv, x, grad, momentum, eps=0.3, step_size=0.1)
            return ops.project_(x_adv, x, eps=0.5, norm="l1") * 2 + momentum

        x, grad = torch.rand(3, 7), torch.randn(3, 7)
        results = []
        for function in (compiled(attack), attack):
            x_adv = x.clone()
            results.append((function(x_adv, x, grad), x_adv))
        assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])

    @pytest.mark.parametrize("prepared", [True, False])
    def test_aggregate_forth_and_back(self, prepared):
        graph = Graph(*CSR[:2], GRAPH.num_src, GRAPH.edge_id)
        if prepared:
            assert graph.transpose
        x, weight = sample(5, 6, grad=True), sample(7, grad=True)

        @compiled
        def layer(x, weight, graph):
            return ops.aggregate(x * 2, graph, weight).relu().sum()

        results = []
        for function in (layer, layer._torchdynamo_orig_callable):
            x.grad = weight.grad = None
            value = function(x, weight, graph)
            value.backward()
            results.append((value.detach(), x.grad, weight.grad))
        torch.testing.assert_close(*results)

    @pytest.mark.parametrize("images", [False, True])
    def test_starts(self, images):
        counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        torch._dynamo.reset()

        @torch.compile(fullgraph=True, backend=counter)
        def start(x, eps, seed, restart):
            return ops.random_start(x * 1, eps=eps, norm="l2", seed=seed, restart=restart) + 1

        x = channels_last(torch.rand(3, 2, 4, 4)) if images else torch.rand(3, 5)
        for seed, restart in ((3, 0), (-1, 1), (2**63 - 1, 2), (5, 2**32 - 1)):
            for eps in (0.25, torch.tensor([0.1, 0.2, 0.3])):
                want = ops.random_start(x, eps=eps, norm="l2", seed=seed, restart=restart) + 1
                assert torch.equal(start(x, eps, seed, restart), want)
        assert counter.frame_count <= 5  # then the integers are symbols

    def test_losses_forth_and_back(self):
        @compiled
        def loss(z, y):
            z = z * 2
            return ops.margin_loss(z, y) + ops.dlr_loss(z, y) + ops.dlr_loss(z, y, target=1)

        z, results = sample(4, 6, grad=True), []
        for function in (loss, loss._torchdynamo_orig_callable):
            value = function(z, LABELS)
            results.append((value.detach(), *torch.autograd.grad(value.sum(), z)))
        assert all(map(torch.equal, *results))

    def test_rows(self):
        @compiled
        def keep_far(x, y, labels):
            sizes = ops.lp_norms(x * 2, y)
            return sizes, *ops.compact(sizes[:, 3] > 3, x, y, labels)

        x, y = sample(4, 2, 3, 3), channels_last(sample(4, 2, 3, 3))
        for got, want in zip(keep_far(x, y, LABELS), keep_far._torchdynamo_orig_callable(x, y, LABELS), strict=True):
            assert torch.equal(got, want) and got.stride() == want.stride()

    def test_sizes_may_change(self):
        counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        torch._dynamo.reset()
        layer = torch.compile(
            lambda x, graph: ops.aggregate(x, graph) + 1, fullgraph=True, backend=counter, dynamic=True
        )
        for nodes in (5, 9, 14, 30):
            graph = Graph.from_edge_index(torch.randint(0, nodes, (2, 4 * nodes)), nodes)
            x = torch.randn(nodes, 8)
            assert torch.equal(layer(x, graph), ops.aggregate(x, graph) + 1)
        assert counter.frame_count <= 3

    @pytest.mark.slow
    def test_with_inductor(self):
        @torch.compile(fullgraph=True)
        def both(x_adv, x, grad):
            ops.linf_step_(x_adv, x, grad, eps=0.1, step_size=0.05)
            return ops.aggregate(x_adv * 2, GRAPH).relu()

        x, grad = torch.rand(5, 8), torch.randn(5, 8)
        x_adv = x.clone()
        out = both(x_adv, x, grad)
        want = ops.linf_step_(x.clone(), x, grad, eps=0.1, step_size=0.05)
        assert torch.equal(x_adv, want)
        torch.testing.assert_close(out, ops.aggregate(want * 2, GRAPH).relu())


def test_fake_tensors_have_the_shapes():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode() as mode:
        csr = [mode.from_tensor(t) for t in CSR]
        x, a = torch.empty(5, 6, dtype=torch.float16), torch.empty(4, 6)
        out = torch.ops.dlbench.aggregate(x, *csr, None, *NONE, "sum")
        assert (out.shape, out.dtype) == ((4, 6), torch.float16)
        assert torch.ops.dlbench.sddmm(a, torch.empty(5, 6), *csr, *NONE).shape == (7,)


def test_status_says_what_serves():
    status = ops.status()
    assert status is ops.load()
    assert status.implementation in ("native", "reference")
    if status.implementation == "reference":
        assert status.reason
        pytest.skip(f"the reference serves: {status.reason}")
    assert status.facts["torch"] == torch.__version__.partition("+")[0]
    assert status.facts["source_hash"] == recipe.source_hash(recipe.sources_root())
    assert status.facts["with_cuda"] == ("cuda" in status.devices) and "cpu" in status.devices


def test_its_own_test_passes():
    if ops.status().implementation != "native":
        pytest.skip("the reference serves")
    if ops.status().origin == "temporary":
        pytest.skip("its library is gone from the disk")
    assert recipe.load(ops.status().path).self_test() == []


def test_a_forked_child_has_the_operators():
    x = torch.rand(100)
    child = os.fork()
    if child == 0:
        moved = ops.linf_step_(x.clone(), x, torch.ones(100), eps=0.1, step_size=0.1)
        os._exit(0 if bool((moved >= x).all()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_may_use_them_at_once():
    x = torch.randn(5, 64)
    want = ops.aggregate(x, GRAPH)
    failures = []

    def work():
        for _ in range(50):
            if not torch.equal(ops.aggregate(x, GRAPH), want):
                failures.append(threading.get_ident())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
