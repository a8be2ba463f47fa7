"""AutoAttack: the worst case of its parts for each sample, each run on what is left, with the official budgets."""

import pytest
import torch

from dlbench import attacks
from dlbench.attacks import ensemble

from .conftest import jitter

SMALL = {
    "apgd_ce": {"steps": 5},
    "apgd_t": {"steps": 5, "target_classes": 2},
    "fab_t": {"steps": 5, "target_classes": 2},
    "square": {"queries": 20},
}


@pytest.fixture
def problem(row_wise):
    return row_wise((1, 3, 4))


def test_the_budgets_are_the_official_ones():
    budgets = {name: budget for name, (_, budget) in ensemble.ATTACKS.items()}
    assert budgets["apgd-ce"] == {"loss": "ce", "steps": 100}
    assert budgets["apgd-t"] == {"loss": "dlr_targeted", "steps": 100, "target_classes": 9}
    assert budgets["fab-t"] == {"steps": 100, "target_classes": 9} and budgets["square"] == {"queries": 5000}
    assert budgets["fab"] == {"steps": 100, "targeted": False, "target_classes": 9}
    assert ensemble.VERSIONS["standard"] == ("apgd-ce", "apgd-t", "fab-t", "square")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_the_worst_case_of_its_parts(problem, norm):
    model, x, y = problem
    eps = 0.05 if norm == "linf" else 0.15
    result = attacks.autoattack(model, x, y, eps=eps, norm=norm, **SMALL)
    shared = {"eps": eps, "norm": norm, "seed": 0}
    alone = [
        attack(model, x, y, **shared, **budget | SMALL[name.replace("-", "_")]) for name, attack, budget in parts()
    ]
    assert torch.equal(result.success, torch.stack([part.success for part in alone]).any(0))
    assert all(result.robust_accuracy <= part.robust_accuracy for part in alone)
    for number, part in enumerate(alone):  # each fell to the first that breaks it
        first = part.success & ~torch.stack([torch.zeros_like(part.success)] + [a.success for a in alone[:number]]).any(
            0
        )
        assert torch.equal(result.broken_by == number, first & part.clean_correct)
    assert result.attacks == ("apgd-ce", "apgd-t", "fab-t", "square")
    assert torch.equal(model(result.x_adv).argmax(1) != y, result.success)
    assert (result.norm <= eps).all() and (result.broken_by[~result.clean_correct] == -1).all()
    assert 0 < result.attack_success_rate < 1


def parts():
    return [(name, *ensemble.ATTACKS[name]) for name in ensemble.VERSIONS["standard"]]


def test_costs_add_up_and_what_fell_is_not_attacked_again(problem):
    model, x, y = problem
    result = attacks.autoattack(model, x, y, eps=0.05, **SMALL)
    assert sum(model.batches) >= int(result.forwards.sum())
    early = result.broken_by == 0
    assert early.any() and (result.backwards[early] <= 5).all()
    held = result.clean_correct & ~result.success
    assert (result.forwards[held] > result.forwards[early].max()).all()


def test_a_split_into_batches_changes_nothing(problem):
    model, x, y = problem
    whole = attacks.autoattack(model, x, y, eps=0.05, **SMALL)
    ids = torch.arange(len(x))
    halves = [attacks.autoattack(model, x[i::2], y[i::2], eps=0.05, sample_ids=ids[i::2], **SMALL) for i in range(2)]
    for i, half in enumerate(halves):
        for name in ("x_adv", "success", "broken_by"):
            assert torch.equal(getattr(half, name), getattr(whole, name)[i::2]), name


def test_versions(problem, monkeypatch):
    model, x, y = problem
    seen = []

    def recording(name, attack):
        def run(*args, **settings):
            seen.append((name, settings))
            small = {"steps": 3} if "queries" not in settings else {"queries": 5}
            return attack(*args, **settings | small)

        return run

    for name, (attack, budget) in ensemble.ATTACKS.items():
        monkeypatch.setitem(ensemble.ATTACKS, name, (recording(name, attack), budget))
    attacks.autoattack(model, x, y, eps=1e-6, version="plus")
    assert [name for name, _ in seen] == ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
    assert [settings.get("restarts") for _, settings in seen] == [5, 5, 5, None, None, None]
    seen.clear()
    attacks.autoattack(model, x, y, eps=1e-6, version="rand")
    assert [(name, settings["eot_samples"]) for name, settings in seen] == [("apgd-ce", 20), ("apgd-dlr", 20)]
    seen.clear()
    attacks.autoattack(model, x, y, eps=1e-6, version="rand", eot_samples=3, apgd_dlr={"eot_samples": 2})
    assert [settings["eot_samples"] for _, settings in seen] == [3, 2]
    seen.clear()
    attacks.autoattack(model, x, y, eps=1e-6, version="custom", attacks=["square"])
    assert [name for name, _ in seen] == ["square"]


def test_every_attack_sees_the_transform_and_asks_as_often(problem):
    model, x, y = problem
    settings = {"eps": 0.05, "eot_samples": 3, "transform": jitter}
    result = attacks.autoattack(model, x, y, **settings, **SMALL)
    named = {name: budget | SMALL[name.replace("-", "_")] for name, _, budget in parts()}
    alone = [ensemble.ATTACKS[name][0](model, x, y, **settings, **budget) for name, budget in named.items()]
    assert torch.equal(result.success, torch.stack([part.success for part in alone]).any(0))
    assert (result.broken_by > 0).any() and (result.forwards % 3 == 0).all()
    with pytest.raises(ValueError, match="eot_samples is 0"):
        attacks.autoattack(model, x, y, eps=0.05, eot_samples=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "full"}, "version is 'full'; there are standard, plus, rand and custom"),
        ({"version": "custom"}, "attacks is None; version 'custom' needs some of apgd-ce"),
        ({"version": "custom", "attacks": ["pgd"]}, r"attacks is \['pgd'\]"),
        ({"attacks": ["square"]}, "choose them with version='custom'"),
        ({"fab": {"steps": 3}}, r"no attack \['fab'\] in this run"),
        ({"eps": -1.0}, "eps is -1"),
        ({"y": torch.full((40,), 7)}, "y has labels from 7 to 7"),
    ],
)
def test_errors_name_what_was_given(problem, change, message):
    model, x, y = problem
    call = {"x": x, "y": y, "eps": 0.1} | change
    with pytest.raises(ValueError, match=message):
        attacks.autoattack(model, call.pop("x"), call.pop("y"), **call)


def test_an_empty_batch(problem):
    model, x, y = problem
    result = attacks.autoattack(model, x[:0], y[:0], eps=0.1, **SMALL)
    assert result.x_adv.shape == (0, 1, 3, 4) and result.broken_by.shape == (0,)
