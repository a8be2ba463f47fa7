"""aggregate's kernels for a GPU, compiled for the CPU: what they compute, in whatever order their threads run.

They use no shuffles, shared memory or atomics, so as much of CUDA as they need fits into a header (``cuda_on_cpu``),
where a thread runs to its end before the next one starts. Whether and how fast a GPU runs them shows there alone
(``test_cuda.py``).
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import Graph, recipe, reference

HERE = Path(__file__).parent / "cuda_on_cpu"
LAUNCH = re.compile(r"(\w+<[^<>]*>)<<<(.+?), (\w+), 0, stream>>>\((.*?)\);")
SPLITS = {"rows": 0, "merged": 1}
REDUCTIONS = ("sum", "mean", "max", "min", "std")
EPS = {torch.float64: 2**-52, torch.float32: 2**-23, torch.bfloat16: 2**-23, torch.float16: 2**-23}  # of sums
ROUNDING = {torch.float64: 2**-52, torch.float32: 2**-23, torch.bfloat16: 2**-8, torch.float16: 2**-11}  # of results


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    compiler, root = recipe.compiler(), recipe.sources_root()
    if compiler is None:
        pytest.skip("there is no C++ compiler here")
    folder = tmp_path_factory.mktemp("cuda_on_cpu")
    (folder / "aggregate").mkdir()
    kept = (root / "aggregate/kept.cuh").read_text()
    free = kept.replace("constexpr int kThreads = 256;", "inline int kThreads = 256;")
    assert free != kept
    (folder / "aggregate/kept.cuh").write_text(free)
    for name in ("rows", "merged"):
        kernel = (root / f"aggregate/aggregate_{name}_cuda.cu").read_text()
        called, launches = LAUNCH.subn(r"cuda_on_cpu::launch(\2, \3, [&] { \1(\4); });", kernel)
        assert launches == kernel.count("<<<") > 0
        (folder / f"{name}.cpp").write_text(called)
    shutil.copy(HERE / "aggregate.cpp", folder)
    library = folder / "kernels.so"
    command = [compiler, "-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-I.", f"-I{HERE}", f"-I{root}"]
    command += ["aggregate.cpp", "rows.cpp", "merged.cpp", "-o", library]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(library)


def on_cpu(kernels, split, graph, x, weight, reduce, order=0):
    """What the kernels of a split give, and for max and min where the winners are."""
    rows, edges, features = graph.num_dst, graph.num_edges, x.shape[-1]
    real = torch.float64 if x.dtype == torch.float64 else torch.float32
    width = x[0].numel() if len(x) else 0
    by_head = weight is not None and weight.dim() == 2
    sizes = (rows, edges, x.shape[1], features) if by_head else (rows, edges, 1, width)
    out = torch.full((rows, *x.shape[1:]), torch.nan, dtype=x.dtype)
    position = torch.full(out.shape, -1, dtype=graph.col.dtype) if reduce in ("max", "min") else None
    partial = torch.full((2 * kernels.pieces(SPLITS[split], rows, edges), width), torch.nan, dtype=real)
    weight = None if weight is None else weight.to(real)
    tensors = (*graph.csr, x, weight, out, position, partial)
    pointers = [None if t is None else ctypes.c_void_p(t.data_ptr()) for t in tensors]
    function = kernels[f"{str(x.dtype)[6:]}_{str(graph.col.dtype)[6:]}"]
    integers = [(ctypes.c_int64 * len(group))(*group) for group in ((SPLITS[split], order), sizes)]
    function(*integers, ctypes.c_int64(REDUCTIONS.index(reduce)), *pointers)
    return out, position


def assert_right(found, graph, x, weight, reduce):
    """Max and min and where they are exactly, the others within what summing in any order may round."""
    out, position = found
    if position is not None:
        want, where = reference.aggregate_arg(x, *graph.csr, weight, None, None, None, reduce)
        assert torch.equal(out, want) and torch.equal(position, where)
        return
    wide = x.double(), *graph.csr, None if weight is None else weight.double(), None, None, None
    want, mean = (reference.aggregate(*wide, name) for name in (reduce, "mean"))
    sizes = reference.aggregate(x.double().abs(), *graph.csr, None if weight is None else weight.double().abs(),
                                None, None, None, "sum" if reduce == "sum" else "mean")  # fmt: skip
    terms = (graph.in_degree + 4).reshape(-1, *(1,) * (x.dim() - 1))
    sizes = sizes + mean.abs() * terms if reduce == "std" else sizes  # of squares of which little is left
    bound = terms * EPS[x.dtype] * sizes + ROUNDING[x.dtype] * (want.abs() + 1e-3) + 1e-300
    assert out.isfinite().all() and ((out.double() - want).abs() <= bound).all()


LENGTHS = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 9, 30, 126, 127, 128, 129, 255, 256, 511, 512, 513, 1100])


@st.composite
def tasks(draw):
    """A graph with rows of many lengths, of few sources and so with edges twice; features, and weights or none."""
    lengths = torch.tensor(draw(st.lists(LENGTHS, min_size=1, max_size=12)) + draw(st.sampled_from([[], [0] * 300])))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    lengths = lengths[torch.randperm(len(lengths), generator=random)]
    sources, edges = draw(st.integers(1, 20)), int(lengths.sum())
    index = draw(st.sampled_from([torch.int32, torch.int64]))
    rowptr = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(index)
    col = torch.randint(sources, (edges,), generator=random).to(index)
    edge_id = torch.randperm(edges, generator=random).to(index) if draw(st.booleans()) else None
    dtype, shape = draw(st.sampled_from(list(EPS))), draw(st.sampled_from([(1,), (7,), (64,), (2, 8), (3, 1)]))
    x = torch.randn(1 + sources * torch.Size(shape).numel(), generator=random).mul(4).round().div(4).to(dtype)  # ties
    shift = draw(st.integers(0, 1))  # of one element, which 16 bytes are not aligned to
    x = x[shift : shift + sources * torch.Size(shape).numel()].reshape(sources, *shape)
    weight = None
    if draw(st.booleans()):
        heads = shape[:-1] if draw(st.booleans()) else ()
        weight = torch.randn(edges, *heads, generator=random).to(x.dtype)
    return Graph(rowptr, col, sources, edge_id), x, weight


@settings(deadline=None, max_examples=80)
@given(task=tasks(), reduce=st.sampled_from(REDUCTIONS), split=st.sampled_from(list(SPLITS)), seed=st.integers(2, 99))
def test_any_graph_in_any_order_of_threads(kernels, task, reduce, split, seed):
    split = "rows" if reduce == "std" else split  # which goes over edges twice
    found = on_cpu(kernels, split, *task, reduce)
    assert_right(found, *task, reduce)
    for order in (1, seed):
        again = on_cpu(kernels, split, *task, reduce, order)
        assert torch.equal(found[0], again[0]) and (found[1] is None or torch.equal(found[1], again[1]))


def graph_of(lengths, sources=50):
    lengths = torch.as_tensor(lengths)
    col = torch.randint(sources, (int(lengths.sum()),), generator=torch.Generator().manual_seed(0))
    return Graph.from_csr(torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]), col, sources)


SHAPES = {
    "no edges": graph_of([0] * 700),
    "one row": graph_of([1]),
    "a hub among short rows": graph_of([2, 0, 3] * 60 + [9000] + [1, 0, 0] * 90),
    "hubs alone": graph_of([3000, 4000]),
    "rows as long as a share": graph_of([127] * 9),
    "rows of a share's edges": graph_of([128] * 9),
    "rows of a chunk's edges": graph_of([256, 511, 512, 513, 768] * 3),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("width", [1, 7, 64, 300])
def test_every_shape_with_either_split_and_blocks_of_any_size(kernels, name, width):
    graph, random = SHAPES[name], torch.Generator().manual_seed(0)
    x, weight = torch.randn(50, width, generator=random), torch.randn(graph.num_edges, generator=random)
    for split in SPLITS:
        for reduce in REDUCTIONS[: 5 if split == "rows" else 4]:
            found = on_cpu(kernels, split, graph, x, weight, reduce)
            assert_right(found, graph, x, weight, reduce)
            try:
                kernels.use_threads(ctypes.c_int64(64))
                assert torch.equal(on_cpu(kernels, split, graph, x, weight, reduce, 7)[0], found[0])
            finally:
                kernels.use_threads(ctypes.c_int64(256))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("reduce", ["max", "min"])
def test_what_is_no_number_wins_wherever_a_row_is_cut(kernels, split, reduce):
    graph = graph_of([700, 5, 0, 900], sources=1600)
    for at in (0, 130, 699, 1604):
        x = torch.rand(1600, 8)
        x[graph.col[at]] = torch.nan
        out, position = on_cpu(kernels, split, graph, x, None, reduce)
        want, where = reference.aggregate_arg(x, *graph.csr, None, None, None, None, reduce)
        assert want.isnan().any()
        assert torch.equal(out.isnan(), want.isnan()) and torch.equal(out.nan_to_num(), want.nan_to_num())
        assert torch.equal(position, where)


def test_uneven_rows_are_merged_and_short_ones_where_nothing_is_known(kernels):
    def split(rows, edges, uneven, reduce="sum"):
        arguments = (REDUCTIONS.index(reduce), rows, edges, -1 if uneven is None else int(uneven))
        return list(SPLITS)[kernels.split(*map(ctypes.c_int64, arguments))]

    assert [split(100, edges, True) for edges in (0, 100, 100_000)] == ["merged"] * 3
    assert [split(100, edges, False) for edges in (0, 100, 100_000)] == ["rows"] * 3
    assert [split(100, edges, None) for edges in (0, 934, 936, 100_000)] == ["merged", "merged", "rows", "rows"]
    assert [split(100, 300, uneven, "std") for uneven in (True, None)] == ["rows"] * 2
