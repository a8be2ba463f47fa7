"""The presets that need sets which are not here, on tiny ones in the publishers' format, from files to rows."""

import numpy as np
import pandas as pd
import pytest

from dlbench import Context, data
from dlbench.data import openood
from dlbench.errors import DataDamaged, ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.bias.algorithmic_bias import METHOD_PANELS, SMALL_CNN, AlgorithmicBias
from dlbench_plugins.images import cifar10_c as corrupted
from dlbench_plugins.images import images, rows_held_out
from dlbench_plugins.shift.corruption_shift import KINDS, CorruptionShift
from dlbench_plugins.uncertainty.aleatoric_uncertainty import AleatoricUncertainty
from dlbench_plugins.uncertainty.calibration import CIFAR10_C, Calibration
from dlbench_plugins.uncertainty.ood_confidence import OODConfidence

from .. import made_groups
from ..made_sets import cifar10, cifar10_c, cifar10h, openood_cifar10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    return tmp_path


def preset(experiment, name, **reduced):
    return experiment(**{**experiment.presets[name], **reduced})


def rows_of(experiment):
    context = Context(seed=100, loader=data.load)
    return pd.DataFrame(measurements(experiment, context)), context.kept


def test_corrupted_images_go_with_the_test_images_they_are_of(folder):
    cifar10_c(folder, cifar10(folder, np.random.default_rng(0)))
    context = Context(seed=100, loader=data.load)
    _, (x, y) = images("cifar10", 40, context)
    rows = rows_held_out(100, 40, context)
    dark = corrupted("snow", 2, rows, y, context)
    assert (dark - 0.75 * x).abs().max() < 1 / 255
    with pytest.raises(DataDamaged, match="the labels of cifar10_c are not those of cifar10's test images"):
        corrupted("snow", 2, np.roll(rows, 1), y, context)


def test_calibration_under_the_corruptions_of_cifar_10_c(folder):
    cifar10_c(folder, cifar10(folder, np.random.default_rng(0)))
    small = {"train_size": 50, "held_out": 50, "steps": 5, "passes": 2, "null_draws": 2, "signals_train": 100}
    assert Calibration.presets["cifar10"]["shifts"] == CIFAR10_C
    found, _ = rows_of(preset(Calibration, "cifar10", signals_test=200, shifts=CIFAR10_C[:2], **small))
    on_images = found[found["data"] == "cifar10"]
    assert set(on_images["shift"]) == {"none", *CIFAR10_C[:2]}
    assert len(CIFAR10_C) == 15
    assert on_images.groupby("subject").size().eq(1 + 2 * 5).all()
    with pytest.raises(ParameterError, match="CIFAR-10-C's files show cifar10; images is 'digits'"):
        Calibration(shifts=CIFAR10_C[:1])


def test_corruption_shift_on_cifar_10_c(folder):
    cifar10_c(folder, cifar10(folder, np.random.default_rng(0), test=10_000))
    small = {"tested": 60, "width": 8, "steps": 4, "batch_size": 8, "members": 2}
    found, kept = rows_of(preset(CorruptionShift, "cifar10", **small))
    kinds = KINDS["cifar10_c"]
    assert {"elastic", "jpeg", "frost", "glass_blur"} < set(kinds)
    assert kept["examples"].shape == (15, 3, 3, 32, 32)
    summary = found[found.kind == "cifar10_c"].set_index("subject")
    mine = found[found.subject == "cnn"]
    assert set(mine.kind) == {"none", "eight_bits", "all_noise", "cifar10_c", *kinds}
    assert summary.mean_accuracy["cnn"] == pytest.approx(mine[mine.kind.isin(kinds)].accuracy.mean())
    assert summary.mce["cnn"] == pytest.approx(1)
    with pytest.raises(ParameterError, match="CIFAR-10-C's files show cifar10; dataset is 'mnist'"):
        CorruptionShift(dataset="mnist", spoilt="cifar10_c")


def test_cats_and_dogs_before_openoods_sets(folder):
    rng = np.random.default_rng(0)
    cifar10(folder, rng, train=400, test=200)
    openood_cifar10(folder, rng)
    small = {"width": 8, "steps": 4, "batch_size": 8, "members": 2, "most": 20}
    found, _ = rows_of(preset(OODConfidence, "openood", **small))
    found = found[(found["data"] == "cifar10") & (found.subject == "knn")].set_index("outside")
    for outside, names in (("openood_near", openood.NEAR), ("openood_far", openood.FAR)):
        assert found.auroc[outside] == pytest.approx(found.auroc[list(names)].mean())
        assert 0 <= found.fpr95[outside] <= 1
    with pytest.raises(ParameterError, match="made for cifar10; dataset is 'digits'"):
        OODConfidence(foreign="openood_cifar10")


def test_what_networks_take_for_noise_beside_what_people_do(folder):
    rng = np.random.default_rng(0)
    cifar10(folder, rng, train=200, test=10_000)
    path = cifar10h(folder, rng)
    small = {"sizes": (40, 80), "pairs": 100, "test_pairs": 100, "members": 2, "steps": 3, "image_steps": 3}
    found, _ = rows_of(preset(AleatoricUncertainty, "cifar10h", **small, people_width=8, people_steps=3))
    found = found[found["data"] == "cifar10h"].set_index("subject")
    shares = np.load(path)
    assert set(found.index) == {"ensemble", "network", "people"}
    of_people = -np.where(shares > 0, shares * np.log(np.maximum(shares, 1e-12)), 0).sum(1)
    assert found.nll["people"] == pytest.approx(of_people.mean())
    assert (found.nll >= found.nll["people"]).all()  # whom nobody can beat: the difference is a divergence
    assert found.auroc["people"] == 1
    assert 0 <= found.auroc["network"] <= 1
    assert found.entropy_pure["people"] == 0
    assert found.entropy_mixed["people"] == pytest.approx(of_people[1::2].mean())


def test_presets_name_what_they_need():
    assert preset(Calibration, "cifar10").datasets() == ("cifar10", "cifar10_c")
    assert preset(CorruptionShift, "cifar10").datasets() == ("cifar10", "cifar10_c")
    assert preset(OODConfidence, "openood").datasets() == ("cifar10", "openood_cifar10")
    assert preset(AleatoricUncertainty, "cifar10h").datasets() == ("digits", "cifar10", "cifar10h")


@pytest.mark.parametrize("name", ["waterbirds", "celeba", "acsincome"])
def test_bias_among_birds_faces_and_incomes(folder, name):
    sizes = {"each": 8, "rare": 4} if name != "acsincome" else {"people": 600}
    getattr(made_groups, name.removesuffix("income"))(folder, **sizes)
    assert AlgorithmicBias.presets[name]["problems"] == ("faces", "digits", name)  # the first two have the controls
    small = {"hidden": 8, "real_steps": 25, "examples": 200, "rate": 0.01, "batch": 16}
    found, _ = rows_of(preset(AlgorithmicBias, name, problems=(name,), **small))
    mine = found[found.problem == name]
    methods = {"erm", "reweighting", "group_dro", "dfr"} | ({"resampling", "jtt"} if name == "acsincome" else set())
    assert set(mine.subject) == methods
    everyone = mine[mine.group == "all"].set_index("subject")
    assert everyone.accuracy["erm"] > 0.6 and (everyone.worst_group_accuracy <= everyone.accuracy).all()
    assert set(METHOD_PANELS[name][0]) <= set(mine.group)
    if name == "acsincome":
        rates = mine[mine.group.isin(("black", "white"))]
        assert len(rates) == 2 * len(methods) and rates.false_negative_rate.notna().all()
    else:
        assert set(mine.network) == {SMALL_CNN} and everyone.examples["erm"] == 8
