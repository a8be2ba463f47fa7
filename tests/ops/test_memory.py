"""Memory that outputs leave: taken again, never shared, bounded, given back; in threads and forks too."""

import os
import threading

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlbench import ops

N = 512  # rows; with 64 features of float32 just as large as the smallest block that is kept


@pytest.fixture(autouse=True)
def nothing_kept():
    if ops.status().implementation != "native":
        pytest.skip("the reference keeps nothing")
    ops.release_memory()
    yield
    ops.release_memory()


def loops(x: torch.Tensor) -> torch.Tensor:
    """A copy of x [N, F], as the sum over a graph of self loops."""
    each = torch.arange(len(x))
    return ops.aggregate(x, ops.Graph.from_edge_index(torch.stack([each, each]), num_nodes=len(x)))


def test_the_next_output_takes_what_the_last_one_left():
    x = torch.randn(N, 64)
    first = loops(x)
    place = first.data_ptr()
    del first
    second = loops(-x)
    assert second.data_ptr() == place and torch.equal(second, -x)
    third = loops(x)  # while the second is there
    assert third.data_ptr() != place and torch.equal(second, -x)


def test_views_and_arrays_hold_it():
    x = torch.randn(N, 64)
    row, array = loops(x)[5], loops(2 * x).numpy()
    others = [loops(torch.zeros(N, 64)) for _ in range(3)]
    assert torch.equal(row, x[5]) and (array == (2 * x).numpy()).all() and not others[0].any()


def test_small_outputs_are_mallocs_affair():
    out = loops(torch.randn(N, 63))
    del out
    assert ops.release_memory() == 0
    out = loops(torch.randn(N, 64))
    for size in range(10, 60):
        out.resize_(size).fill_(size)
        out.untyped_storage().resize_(0)
    assert ops.release_memory() == 4 * N * 64


def test_what_is_given_back_is_the_systems_again():
    def resident():
        return psutil.Process().memory_info().rss / 2**20

    before = resident()
    held = [loops(torch.randn(40_000, 120)) for _ in range(10)]  # 18 MiB each
    del held
    assert resident() - before > 150
    for features in range(60, 118):
        loops(torch.randn(40_000, features))
    assert resident() - before < 450
    ops.release_memory()
    assert resident() - before < 60  # of which what malloc keeps of the inputs is some


def test_a_peak_is_forgotten():
    held = [loops(torch.randn(N, 640)) for _ in range(30)]
    del held
    for _ in range(2500):
        loops(torch.randn(N, 64))
    assert ops.release_memory() < 8 * 4 * N * 64


def test_it_can_be_copied_on_writing():
    out = loops(torch.randn(N, 64))
    other = torch._lazy_clone(out)
    before = out.clone()
    other += 1
    assert torch.equal(out, before) and torch.equal(other, before + 1)


def test_at_most_twice_as_much_is_kept_as_was_in_use_at_one_time():
    size = 4 * N * 64
    for times in (2, 3, 4, 5, 6):  # one after the other; those freed longest ago go
        loops(torch.randn(N, 64 * times))
    assert ops.release_memory() == (5 + 6) * size
    at_once = [loops(torch.randn(N, 64)) for _ in range(3)]
    del at_once
    assert ops.release_memory() == 3 * size and ops.release_memory() == 0


def test_a_loop_meets_all_its_outputs_again():
    x = torch.randn(N, 64)
    seen = set()
    for _ in range(5):
        for features in (64, 256):
            out = loops(x.repeat(1, features // 64))
            seen.add(out.data_ptr())
            del out
    assert len(seen) == 2


def test_an_output_can_be_resized_and_written_to():
    out = loops(torch.randn(N, 64))
    torch.zeros(N, 200, out=out.resize_(0))
    assert out.shape == (N, 200) and not out.any()


@given(st.lists(st.tuples(st.integers(64, 300), st.integers(0, 3)), max_size=12))
def test_outputs_are_what_they_would_be(asked):
    held = {}
    for step, (features, slot) in enumerate(asked):
        x = torch.full((N, features), float(step))
        held[slot] = (x, loops(x))
        assert all(torch.equal(out, given) for given, out in held.values())


def test_threads_do_not_share():
    wrong = []

    def work(number):
        for step in range(50):
            x = torch.full((N, 64 + 16 * (step % 3)), float(100 * number + step))
            if not torch.equal(loops(x), x):
                wrong.append((number, step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_fork_has_its_own():
    """Also of a process one of whose threads is just about to take or to leave memory."""
    x, stop = torch.randn(N, 64), threading.Event()

    def churn():
        while not stop.is_set():
            loops(x)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                torch.set_num_threads(1)
                os._exit(0 if torch.equal(loops(x), x) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
