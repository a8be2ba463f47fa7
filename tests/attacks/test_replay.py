"""Steps that are recorded and replayed, as on a GPU, by a stand-in that repeats what was done on the same memory."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dlbench import attacks
from dlbench.attacks import census, replay, restarts, search
from dlbench.ops.reference import hyperplane

ASKS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item", "_unique2", "masked_select")


class Tape(TorchDispatchMode):
    """Notes every operation with its tensors, and repeats them on the same memory.

    Like a CUDA graph it cannot look at numbers, and afterwards memory is as if nothing had been done yet.
    """

    def __init__(self, work):
        super().__init__()
        self.done, self.memory = [], {}
        try:
            with self:
                work()
        finally:
            for storage, before in self.memory.values():
                storage.copy_(before)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in ASKS:
            raise RuntimeError(f"{func} waits for the device")
        for tensor in filter(torch.is_tensor, tree_leaves((args, kwargs))):
            storage = tensor.untyped_storage()
            self.memory.setdefault(storage.data_ptr(), (storage, storage.clone()))
        out = func(*args, **kwargs)
        self.done.append((func, args, kwargs, out))
        return out

    def replay(self):
        with torch.no_grad():
            for func, args, kwargs, out in self.done:
                again = func(*args, **kwargs)
                pairs = zip(out, again, strict=True) if isinstance(out, list | tuple) else [(out, again)]
                for old, new in pairs:
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@pytest.fixture
def recorded(monkeypatch):
    """Lets a CPU be treated as a GPU: recorded steps, buckets, old counts. Gives how many tapes were made."""
    tapes = []

    def record(work):
        tapes.append(Tape(work))
        return tapes[-1].replay

    monkeypatch.setattr(replay, "can_record", lambda device: True)
    monkeypatch.setattr(replay, "record", record)
    monkeypatch.setattr(restarts, "bucket", lambda count, size, _: min(size, 1 << max(count - 1, 0).bit_length()))
    begin = census.Census.__init__
    monkeypatch.setattr(census.Census, "__init__", lambda self, device: begin(self, device) or setattr(self, "lag", 2))
    monkeypatch.setattr(hyperplane, "settled", lambda later, time: False)
    monkeypatch.setattr(search, "rows_seen", lambda mask: None)
    return tapes


class Rowwise(nn.Module):
    """Rows are computed apart, in double, so that the size of a batch changes no bit."""

    def __init__(self, shape=(3, 5, 5), classes=5):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        inputs = torch.Size(shape).numel()
        self.first = nn.Parameter(torch.randn(12, inputs, generator=g, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(classes, 12, generator=g, dtype=torch.float64))

    def forward(self, x):
        hidden = (x.flatten(1)[:, None, :] * self.first).sum(2).relu()
        return (hidden[:, None, :] * self.second).sum(2)


@pytest.fixture
def problem():
    model = Rowwise()
    x = torch.rand(50, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return model, x, model(x).argmax(1)


CASES = {
    "pgd": (attacks.pgd, {"eps": 0.02, "steps": 30, "restarts": 3}),
    "pgd, cycles": (attacks.pgd, {"eps": 0.01, "step_size": 0.004, "steps": 60}),
    "pgd, l2": (attacks.pgd, {"eps": 0.2, "steps": 12, "norm": "l2"}),
    "pgd, l1": (attacks.pgd, {"eps": 1.0, "steps": 12, "norm": "l1"}),
    "pgd, a radius each": (attacks.pgd, {"eps": torch.linspace(0.005, 0.04, 50, dtype=torch.float64), "steps": 60}),
    "pgd, to the end": (attacks.pgd, {"eps": 0.02, "steps": 9, "stop": "never"}),
    "mifgsm": (attacks.mifgsm, {"eps": 0.02, "steps": 12}),
    "apgd": (attacks.apgd, {"eps": 0.02, "steps": 40, "restarts": 2}),
    "apgd, targeted": (attacks.apgd, {"eps": 0.015, "steps": 25, "loss": "dlr_targeted"}),
    "apgd, l2": (attacks.apgd, {"eps": 0.2, "steps": 25, "norm": "l2"}),
    "fab": (attacks.fab, {"eps": 0.02, "steps": 20}),
    "fab, l2": (attacks.fab, {"eps": 0.2, "steps": 20, "norm": "l2", "stop": "never"}),
    "fab, untargeted": (attacks.fab, {"eps": 0.02, "steps": 20, "targeted": False}),
    "deepfool": (attacks.deepfool, {"eps": 0.3, "overshoot": 0.0, "steps": 20}),
    "cw": (attacks.cw, {"eps": 0.3, "steps": 20, "searches": 3, "learning_rate": 0.02}),
    "spsa": (attacks.spsa, {"eps": 0.03, "steps": 8, "samples": 4, "restarts": 2}),
    "square": (attacks.square, {"eps": 0.03, "queries": 120}),
    "square, l2": (attacks.square, {"eps": 0.3, "queries": 120, "norm": "l2"}),
}


@pytest.mark.parametrize("name", CASES)
def test_recorded_steps_find_what_steps_find(problem, name, request):
    attack, settings = CASES[name]
    model, x, y = problem
    want = attack(model, x, y, **settings)
    tapes = request.getfixturevalue("recorded")
    if isinstance(settings["eps"], torch.Tensor):  # numbers on a GPU are not checked, nor where something is traced
        request.getfixturevalue("monkeypatch").setattr(torch.compiler, "is_compiling", lambda: True)
    got = attack(model, x, y, **settings)
    assert len(tapes) > 1  # the proof, and steps
    names = ["x_adv", "success", "label_adv", "first_step", "forwards", "backwards"]
    if want.cycled.any():  # who is back is seen some steps later
        assert torch.equal(got.cycled, want.cycled)
        names = names[:4]
    for field in names:
        assert torch.equal(getattr(got, field), getattr(want, field)), field
    torch.testing.assert_close(got.loss, want.loss)
    assert want.attack_success_rate > 0


def test_few_sizes_of_a_batch_are_recorded(problem, recorded):
    model, x, y = problem
    sizes = []

    class Watched(nn.Module):
        def forward(self, z):
            sizes.append(len(z))
            return model(z)

    attacks.pgd(Watched(), x, y, eps=0.05, steps=40, stop="success")
    assert set(sizes) <= {50, 32, 16, 8, 4, 2, 1} and len(set(sizes)) > 2
    assert len(sizes) < 30  # a replay does not call the model


def test_a_model_that_waits_for_the_device_is_not_recorded(problem, recorded):
    model, x, y = problem

    class Looking(nn.Module):
        def forward(self, z):
            return model(z) if float(z.detach().sum()) >= 0 else -model(z)

    want = attacks.pgd(model, x, y, eps=0.02, steps=10)
    recorded.clear()
    assert torch.equal(attacks.pgd(Looking(), x, y, eps=0.02, steps=10).x_adv, want.x_adv)
    assert not recorded


def test_a_model_that_is_not_a_matter_of_its_input_alone_is_not_recorded(problem, recorded):
    model, x, y = problem
    calls = []

    def moody(z):
        calls.append(len(z))
        return model(z) * (1 + 0.01 * len(calls))

    attacks.pgd(moody, x, y, eps=1e-6, steps=10, stop="success")
    assert len(recorded) == 1 and len(calls) > 10  # only the proof, which failed


def test_a_random_model_is_asked_every_time(problem, recorded):
    model, x, y = problem
    result = attacks.pgd(model, x, y, eps=0.02, steps=4, eot_samples=2)
    assert not recorded and result.success.any()


def test_a_step_that_cannot_be_recorded_leaves_no_trace(problem, monkeypatch):
    model, x, y = problem
    want = attacks.apgd(model, x, y, eps=0.02, steps=20)
    tries = []

    def record(work):
        if tries:  # the proof went well
            with pytest.raises(RuntimeError, match="waits"):
                Tape(lambda: work() or torch.ones(1).item())
            raise RuntimeError("operation not permitted when stream is capturing")
        tries.append(1)
        return Tape(work).replay

    monkeypatch.setattr(replay, "can_record", lambda device: True)
    monkeypatch.setattr(replay, "record", record)
    monkeypatch.setattr(search, "rows_seen", lambda mask: None)
    assert torch.equal(attacks.apgd(model, x, y, eps=0.02, steps=20).x_adv, want.x_adv)


def test_where_one_kind_of_step_cannot_be_recorded_none_is_replayed(problem, monkeypatch):
    model, x, y = problem
    settings = {"eps": 0.02, "steps": 60, "restarts": 2}
    want = attacks.apgd(model, x, y, **settings)
    kinds = []

    def record(work):
        kinds.append(work)
        if len(kinds) == 3:  # after the proof and the first kind
            raise RuntimeError("operation not permitted when stream is capturing")
        return Tape(work).replay

    monkeypatch.setattr(replay, "can_record", lambda device: True)
    monkeypatch.setattr(replay, "record", record)
    monkeypatch.setattr(search, "rows_seen", lambda mask: None)
    assert torch.equal(attacks.apgd(model, x, y, **settings).x_adv, want.x_adv)
    assert len(kinds) == 3


def test_old_counts_are_read_late_on_a_gpu_only():
    counts = census.Census(torch.device("cpu"))
    assert counts(torch.tensor([3, 1])) == [3, 1]
    counts.lag = 2
    assert [counts(torch.tensor([n])) for n in (9, 8, 7, 6)] == [None, None, [9], [8]]


@pytest.mark.parametrize(
    ("count", "size", "cpu", "gpu"), [(5, 50, 5, 8), (8, 50, 8, 8), (33, 50, 33, 50), (1, 2, 1, 1)]
)
def test_buckets(count, size, cpu, gpu):
    assert census.bucket(count, size, torch.device("cpu")) == cpu
    assert census.bucket(count, size, torch.device("cuda")) == gpu
