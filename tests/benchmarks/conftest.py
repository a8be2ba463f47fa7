"""Benchmarks use all cores; tests, which share them, have one thread each."""

import os

import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def all_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield
    torch.set_num_threads(before)
