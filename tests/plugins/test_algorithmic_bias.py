"""algorithmic_bias: the populations, each method against closed forms, and rules on frames whose verdict is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.bias import algorithmic_bias as study
from dlbench_plugins.bias import mitigation, populations
from dlbench_plugins.bias.algorithmic_bias import AlgorithmicBias
from dlbench_plugins.bias.mitigation import Arm, Training
from dlbench_plugins.bias.populations import Sample

from .drawing import drawn


def context(seed=100, **more):
    made = {"digits": DIGITS.load, "compas": made_compas, **more}
    return Context(seed=seed, loader=lambda name: made[name]())


def made_compas(n=400):
    rng = np.random.default_rng(0)
    data = {name: rng.integers(1, 20, n) for name in ("age", "priors_count", "juv_fel_count", "juv_misd_count")}
    data |= {"juv_other_count": rng.integers(3, size=n), "sex": np.where(rng.random(n) < 0.5, "Male", "Female")}
    data |= {"c_charge_degree": np.where(rng.random(n) < 0.5, "F", "M"), "two_year_recid": rng.integers(2, size=n)}
    data |= {"race": np.resize(["African-American", "Caucasian", "Other"], n), "kept": np.arange(n) % 10 > 0}
    return data | {"score_text": np.resize(["Low", "High", "Medium", "Low", "Low"], n)}


# ---------------------------------------------------------------------------------------------------- the populations


def test_a_dark_face_is_the_negative_of_a_light_one(monkeypatch):
    monkeypatch.setattr(populations, "NOISE", 0.0)
    light, dark = (populations.faces(*n, np.random.default_rng(0), balanced=True) for n in ((0, 50), (50, 0)))
    assert torch.allclose(light.x, -dark.x)
    assert torch.equal(light.y, dark.y)
    assert set(light.group.tolist()) == {0, 1} and set(dark.group.tolist()) == {2, 3}


def test_a_smile_is_seen(monkeypatch):
    monkeypatch.setattr(populations, "NOISE", 0.0)
    faces = populations.faces(0, 400, np.random.default_rng(0))
    up, down = (faces.x[faces.y == y].mean(0) for y in (1, 0))
    assert (up - down).abs().max() > 0.2
    assert (up - down)[:, :6].abs().max() < 0.1  # in the lower half of the face only


def test_the_colour_contradicts_as_often_as_asked_and_a_quarter_of_the_labels_is_wrong():
    data = {"x": np.ones((20_000, 8, 8), np.float32), "y": np.tile(np.arange(10), 2000)}
    people = populations.coloured_digits(data, 15_000, 1000, (0.1, 0.2), np.random.default_rng(0))
    train, test = people.train, people.test
    for environment, rate in enumerate((0.1, 0.2)):
        mine = train.environment == environment
        assert float(train.side[mine].double().mean()) == pytest.approx(rate, abs=0.015)
    colour = train.x[:, 1].flatten(1).any(1)  # the second channel is green
    assert torch.equal(colour.long(), train.attribute)
    assert torch.equal(train.y ^ train.side, train.attribute)
    assert len(test) == 2 * 4000 and torch.equal(test.y[:4000], test.y[4000:])  # each in both colours
    assert test.side.tolist() == [0] * 4000 + [1] * 4000


def test_a_quarter_of_the_labels_is_wrong():
    data = {"x": np.linspace(0.1, 1, 10, dtype=np.float32).repeat(2000)[:, None, None] * np.ones((2, 2), np.float32)}
    data["y"] = np.arange(10).repeat(2000)
    train = populations.coloured_digits(data, 15_000, 1000, (0.1,), np.random.default_rng(0)).train
    digit = (train.x.amax((1, 2, 3)) * 10).round() - 1
    assert float(((digit >= 5).long() == train.y).double().mean()) == pytest.approx(0.75, abs=0.015)


def test_mnists_digits_are_divided_as_published():
    """50,000 train and 10,000 choose."""
    sizes = {"train": 60_000, "test": 200}
    data = {f"{part}_x": np.full((n, 2, 2), i, np.float32) for i, (part, n) in enumerate(sizes.items(), 1)}
    data |= {f"{part}_y": np.arange(n) % 10 for part, n in sizes.items()}
    people = populations.coloured_digits(data, 50_000, study.MOST_TO_CHOOSE_BY, (0.1, 0.2), np.random.default_rng(0))
    assert [len(part) for part in people[:3]] == [50_000, 10_000, 400]
    assert [float(part.x.max()) for part in people[:3]] == [1, 1, 2]


def test_more_digits_than_there_are_are_refused():
    with pytest.raises(ParameterError, match="1700 digits to train and 425 to choose by; there are 1796"):
        populations.coloured_digits(DIGITS.load(), 1700, 425, (0.1, 0.2), np.random.default_rng(0))


def test_grey_images_have_no_colour():
    people = populations.coloured_digits(DIGITS.load(), 100, 50, (0.1, 0.2), np.random.default_rng(0))
    grey = populations.grey(people.test)
    half = len(grey) // 2
    assert torch.equal(grey.x[:, 0], grey.x[:, 1])
    assert torch.equal(grey.x[:half], grey.x[half:])


def test_in_both_colours_the_colour_tells_nothing():
    people = populations.coloured_digits(DIGITS.load(), 101, 50, (0.1, 0.2), np.random.default_rng(0))
    both = populations.in_both_colours(people.train)
    assert len(both) == 202
    assert torch.equal(both.x[:101].sum(1), both.x[101:].sum(1))
    assert torch.equal(both.attribute, both.x[:, 1].flatten(1).any(1).long())
    assert torch.equal(both.group, 2 * both.y + both.attribute)
    assert torch.equal(both.side, (both.y != both.attribute).long())
    assert float(both.side.double().mean()) == 0.5


def test_digits_leave_five_hundred_of_each_group_for_the_test():
    quick = AlgorithmicBias()
    for seed in range(100, 104):
        people = populations.coloured_digits(
            DIGITS.load(), quick.train_digits, quick.train_digits // 4, (0.1, 0.2), np.random.default_rng(seed)
        )
        assert torch.bincount(people.test.group).min() >= 500


def test_compas_groups_are_race_and_label_and_race_is_no_input():
    people = populations.compas(made_compas(), np.random.default_rng(0))
    assert sum(len(part) for part in people[:3]) == sum(made_compas()["kept"] & (made_compas()["race"] != "Other"))
    for part in people[:3]:
        assert torch.equal(part.group, 2 * part.attribute + part.y)
        assert part.x.shape[1] == 7


def made_pictures(attribute, n=40):
    rng, data = np.random.default_rng(0), {}
    for part in ("train", "valid", "test"):
        data[f"{part}_x"] = rng.integers(256, size=(n, 3, 64, 64), dtype=np.uint8)
        data[f"{part}_y"], data[f"{part}_{attribute}"] = np.arange(n) % 2, np.arange(n) // 2 % 2
    return data


@pytest.mark.parametrize(
    ("name", "attribute", "rare"),
    [("waterbirds", "place", lambda y, place: y != place), ("celeba", "male", lambda y, male: (y == 1) & (male == 1))],
)
def test_pictures_stay_bytes_and_only_as_many_train_as_are_asked_for(name, attribute, rare):
    data = made_pictures(attribute)
    people = getattr(populations, name)(data, 25, np.random.default_rng(0))
    assert [len(part) for part in people[:3]] == [25, 40, 40] and people.train.x.dtype == torch.uint8
    for part in people[:3]:
        assert torch.equal(part.group, 2 * part.y + part.attribute)
        assert torch.equal(part.side == 1, rare(part.y, part.attribute))
    assert people.test.y.tolist() == data["test_y"].tolist()
    assert people.test.attribute.tolist() == data[f"test_{attribute}"].tolist()
    drawn = {tuple(image.flatten()[:9].tolist()) for image in people.train.x}
    assert len(drawn) == 25 and drawn < {tuple(image.flatten()[:9].tolist()) for image in data["train_x"]}


def made_incomes(n=2000):
    rng = np.random.default_rng(0)
    data = {name: rng.integers(1, 6, n) for name in ("COW", "MAR", "POBP", "RELP", "SEX", "RAC1P")}
    data |= {name: rng.integers(16, 80, n) for name in ("AGEP", "SCHL", "WKHP")}
    return data | {"OCCP": np.where(np.arange(n) == 7, 9999, 10), "y": rng.integers(2, size=n)}


def test_incomes_are_of_black_and_white_people_and_codes_are_no_quantities():
    data = made_incomes()
    people = populations.acsincome(data, 10**6, np.random.default_rng(0))
    both = data["RAC1P"] <= 2
    assert sum(len(part) for part in people[:3]) == both.sum()
    train = people.train
    assert train.x.shape[1] == 3 + 5 * 5 + 1  # five codes each, and the one occupation that is not rare
    assert train.x[:, :3].mean(0).abs().max() < 1e-5 and set(train.x[:, 3:].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(train.group, 2 * train.attribute + train.y)
    few = populations.acsincome(data, 60, np.random.default_rng(0))
    assert [len(part) for part in few[:3]] == [60, 120, 120]


def test_race_is_no_input_of_incomes():
    data = made_incomes()
    other = data | {"RAC1P": np.where(data["RAC1P"] <= 2, 3 - data["RAC1P"], data["RAC1P"])}
    people, turned = (populations.acsincome(of, 10**6, np.random.default_rng(0)) for of in (data, other))
    assert torch.equal(people.train.x, turned.train.x)
    assert torch.equal(people.train.attribute, 1 - turned.train.attribute)


# -------------------------------------------------------------------------------------------------------- the methods


def test_many_examples_are_answered_part_by_part(monkeypatch):
    of = sample([0, 1, 2, 3] * 30)
    nets = mitigation.Stack([mitigation.network(of.x.shape[1:], 8) for _ in range(2)])
    whole, alone = nets(of.x), nets[1](of.x)
    monkeypatch.setattr(mitigation, "AT_ONCE", 3 * 7)
    assert torch.allclose(mitigation.answers(nets, of.x), whole, atol=1e-6)
    assert torch.allclose(mitigation.answers(nets[1], of.x), alone, atol=1e-6)


def test_colour_pictures_are_read_as_numbers_about_zero():
    net = mitigation.network(torch.Size([3, 64, 64]), 8)
    x = torch.tensor([0, 255, 51], dtype=torch.uint8)
    assert net[0](x).tolist() == pytest.approx([-0.5, 0.5, -0.3])
    assert net(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 2)
    assert net[:-1](torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 8)


def sample(groups, labels=None, features=3, environment=None):
    rng = np.random.default_rng(1)
    group = torch.tensor(groups)
    y = torch.tensor(labels) if labels is not None else torch.from_numpy(rng.integers(2, size=len(groups)))
    x = torch.from_numpy(rng.standard_normal((len(groups), features), dtype=np.float32))
    other = torch.zeros(len(groups), dtype=torch.int64)
    return Sample(x, y, group, other, other, other if environment is None else torch.tensor(environment))


def test_reweighting_and_resampling_make_groups_alike():
    of = sample([0] * 6 + [1] * 3 + [3])
    pool = torch.arange(10)
    weights = mitigation.group_weights(of, pool)
    assert [float(weights[of.group == g].sum()) for g in (0, 1, 3)] == pytest.approx([1, 1, 1])
    drawn_from = mitigation.balanced(of, pool)
    assert torch.bincount(of.group[drawn_from]).tolist() == [6, 6, 0, 6]
    assert torch.bincount(drawn_from, minlength=10).tolist() == [1] * 6 + [2] * 3 + [6]


def test_each_method_has_three_settings():
    of = sample([0, 1, 2, 3] * 5)
    for method in study.TRAINED:
        assert len(mitigation.arms(method, of, torch.arange(20))) == mitigation.TRIALS
    settings = (mitigation.L2, mitigation.UPWEIGHTED, mitigation.RIDGE, mitigation.IRM_RATES, mitigation.SMOOTHING)
    assert {len(of) for of in settings} == {mitigation.TRIALS}


def test_the_irm_penalty_is_the_squared_derivative_by_a_factor_on_the_logits():
    torch.manual_seed(0)
    logits, y, environment = torch.randn(3, 20, 2), torch.randint(2, (3, 20)), torch.arange(60).view(3, 20) % 2
    one_hot = torch.nn.functional.one_hot
    found = mitigation.irm_penalty(logits, one_hot(y, 2).float(), one_hot(environment).float())
    for k in range(3):
        expected = 0.0
        for e in (0, 1):
            factor = torch.ones((), requires_grad=True)
            mine = environment[k] == e
            loss = torch.nn.functional.cross_entropy(factor * logits[k, mine], y[k, mine])
            expected += float(torch.autograd.grad(loss, factor)[0] ** 2) / 2
        assert float(found[k]) == pytest.approx(expected, rel=1e-5)


def test_irm_trusts_the_weaker_feature_that_is_as_good_in_every_environment():
    """The first feature is right in 75 % of both environments, the second in 90 and in 80 %."""
    rng = np.random.default_rng(0)
    y, environment = rng.integers(2, size=2000), np.arange(2000) % 2
    right = [rng.random(2000) < share for share in (0.75, np.where(environment, 0.8, 0.9))]
    x = np.stack([np.where(of, y, 1 - y) for of in right], 1).astype(np.float32) * 2 - 1
    group = 2 * y + (x[:, 1] > 0)
    columns = (torch.from_numpy(values.astype(np.int64)) for values in (y, group, y * 0, y * 0, environment))
    of, pool = Sample(torch.from_numpy(x), *columns), torch.arange(2000)
    training = Training(steps=300, batch=100, rate=0.01, hidden=32)
    four = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    [plain, *_] = mitigation.train(of, mitigation.arms("erm", of, pool), training, context())(four).argmax(-1).tolist()
    invariant = mitigation.irm(of, pool, of, training, context())(four).argmax(-1).tolist()
    assert plain == [1, 0, 1, 0]
    assert invariant == [1, 1, 0, 0]


def test_stacked_arms_end_where_each_would_alone():
    of = sample([0, 1, 2, 3] * 10, environment=[0, 1] * 20)
    pool = torch.arange(40)
    arms = [mitigation.arms(method, of, pool)[1] for method in study.TRAINED]
    training = Training(steps=8, batch=10, rate=0.01, hidden=8)
    together = mitigation.train(of, arms, training, context())
    for k, arm in enumerate(arms):
        alone = mitigation.train(of, [arm], training, context())
        assert torch.allclose(alone(of.x)[0], together(of.x)[k], atol=1e-4)


def test_group_dro_weighs_the_group_with_the_greater_loss():
    """Group 1's labels contradict those of group 0; where it is as often drawn, only its weight can decide."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((400, 2), dtype=np.float32))
    hard = torch.arange(400) % 2
    y = torch.where(
        hard == 1, (x[:, 1] > 0).long() ^ torch.from_numpy(rng.random(400) < 0.3).long(), (x[:, 0] > 0).long()
    )
    zero = torch.zeros(400, dtype=torch.int64)
    of = Sample(x, y, hard, hard, hard, zero)
    plain, robust = mitigation.train(
        of, [Arm(torch.arange(400)), Arm(torch.arange(400), dro=1.0)], Training(200, 50, 0.01, 4), context()
    )(x)
    loss = [torch.nn.functional.cross_entropy(logits[hard == 1], y[hard == 1]) for logits in (plain, robust)]
    assert loss[1] < loss[0]


def test_jtt_draws_mistakes_again(monkeypatch):
    seen = []
    original = mitigation.train
    monkeypatch.setattr(mitigation, "train", lambda of, arms, *rest: seen.extend(arms) or original(of, arms, *rest))
    of = sample([0, 1, 2, 3] * 10)
    right = torch.arange(40) < 30
    answers = torch.nn.functional.one_hot(torch.where(right, of.y, 1 - of.y), 2)
    mitigation.jtt(lambda x: answers, of, torch.arange(40), of, Training(4, 10, 1e-3, 8), context())
    for arm, times in zip(seen, mitigation.UPWEIGHTED, strict=True):
        assert torch.bincount(arm.pool).tolist() == [1] * 30 + [times] * 10


def test_last_layer_retraining_leaves_the_features():
    of = sample([0, 1, 2, 3] * 30)
    net = mitigation.network(of.x.shape[1:], 8)
    before = [p.clone() for p in net.parameters()]
    predict = mitigation.dfr(net, of, context())
    assert predict(of.x).shape == (120, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_what_is_rare_in_the_latent_space_is_drawn_more_often():
    means = torch.randn(1000, mitigation.LATENT) * 0.1
    means[:5, 0] = 5.0
    often, seldom = (mitigation.rarity(means, alpha) for alpha in (0.001, 10.0))
    assert float(often.sum()) == pytest.approx(1, abs=1e-5)
    assert often[:5].min() > often[5:].median() * 3
    assert often[:5].mean() > seldom[:5].mean()


# ---------------------------------------------------------------------------------------------------------- the trial

TINY = AlgorithmicBias(
    problems=("faces", "digits", "compas"),
    shares=(0.0, 0.1, 0.5),
    mitigated_share=0.1,
    faces=100,
    test_faces=80,
    steps=8,
)


@pytest.fixture(scope="module")
def trial():
    of = context()
    return measurements(TINY, of), of.kept


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert measurements(TINY, context()) == trial[0]


def test_every_subject_and_group_is_measured(trial):
    rows = pd.DataFrame(trial[0])
    methods = {"erm", "reweighting", "resampling", "group_dro", "jtt", "dfr"}
    for problem, more in (
        ("faces", {"db_vae"}),
        ("digits", {"db_vae", "irm", "grey"}),
        ("compas", {study.SCORE}),
    ):
        mine = rows[rows.problem == problem]
        assert set(mine.subject) == methods | more
        assert set(study.METHOD_PANELS[problem][0]) <= set(mine.group)
    score = rows[rows.subject == study.SCORE].set_index("group")
    assert set(score.index) == {"African-American", "Caucasian"}
    data = made_compas()
    free = (data["race"] == "Caucasian") & (data["two_year_recid"] == 0)
    expected = (data["score_text"][free] != "Low").mean()
    assert score.false_positive_rate["Caucasian"] == pytest.approx(expected)
    everyone = rows[(rows.group == "all") & (rows.problem == "faces")]
    assert set(everyone[everyone.subject == "erm"].share) == {0.0, 0.1, 0.5}
    assert (everyone.worst_group_accuracy <= everyone.accuracy).all()


def test_references_name_settings_that_a_trial_has(trial):
    known = {key for row in trial[0] for key in row} | set(TINY.__dataclass_fields__) | {"network"}
    for reference in AlgorithmicBias.references:
        assert set(reference.where) <= known
        assert reference.metric in AlgorithmicBias.metrics


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("quick", ("digits",)),
        *((name, ("digits", name)) for name in ("compas", *study.LARGE)),
        ("full", ("mnist", "compas")),
    ],
)
def test_data_sets_are_named(preset, names):
    assert AlgorithmicBias.preset(preset).datasets() == names


def test_reductions_need_fairlearn():
    pytest.importorskip("sklearn")
    try:
        import fairlearn  # noqa: F401
    except ImportError:
        people = populations.compas(made_compas(), np.random.default_rng(0))
        with pytest.raises(ParameterError, match=r"reductions needs Fairlearn .*dlbench\[fairness\]"):
            list(study.fairlearn_reductions(people))
    else:
        people = populations.compas(made_compas(), np.random.default_rng(0))
        found = dict(study.fairlearn_reductions(people))
        assert set(found) == {"exponentiated_gradient", "threshold_optimizer"}
        assert all(predict(people.test.x).shape == (len(people.test), 2) for predict in found.values())


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(gaps=(0.4, 0.3, 0.1, 0.0), gain=0.05, coin=0.0, follows=0.4, fair=0.95):
    """Six seeds: gaps at shares 0, 1, 5 and 50 %, and what each method gains."""
    rows = []
    methods = ("reweighting", "resampling", "group_dro", "jtt", "dfr", "db_vae", "irm")
    for seed in range(6):
        noise = 0.005 * np.random.default_rng(seed).standard_normal()
        common = {"seed": seed, "group": "all", "examples": 600, "accuracy": fair + noise}
        for share, gap in zip((0.0, 0.01, 0.05, 0.5), gaps, strict=True):
            faces = {"problem": "faces", "share": share, "gap": gap + noise, "worst_group_accuracy": 0.7 + noise}
            rows.append({"subject": "erm", **faces, **common})
        for share, gap in ((0.15, follows), (0.5, coin)):
            digits = {"problem": "digits", "share": share, "gap": gap + noise, "worst_group_accuracy": 0.3 + noise}
            rows.append({"subject": "erm", **digits, **common})
        for problem, share, base in (("faces", 0.05, 0.7), ("digits", 0.15, 0.3)):
            better = {"share": share, "worst_group_accuracy": base + gain + 2 * noise}
            rows += [{"subject": method, "problem": problem, **better, **common} for method in methods]
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in AlgorithmicBias.claims]


def test_a_frame_where_every_claim_holds():
    assert outcomes(frame()) == ["holds"] * 17


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"gaps": (0.4, 0.05, 0.02, 0.0)}, [1]),
        ({"gaps": (0.4, 0.0, 0.05, 0.1)}, [0, 1, 12]),
        ({"gain": -0.05}, [2, 3, 4, 5, 6, 8, 9, 10, 11]),
        ({"follows": 0.05}, [7]),
        ({"coin": 0.1}, [13]),
        ({"gaps": (0.05, 0.3, 0.1, 0.0)}, [14]),
        ({"fair": 0.6}, [15]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_real_groups_may_have_fewer_test_examples():
    blond = frame().iloc[:6].assign(problem="celeba", examples=180)
    rows = pd.concat([frame(), blond])
    assert outcomes(rows)[16] == "holds"


def test_too_few_test_examples_break_the_gate():
    assert outcomes(frame().replace({"examples": {600: 400}}))[16] == "does not hold"


def test_rules_decide_nothing_on_less_than_six_seeds_or_without_scores():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}
    assert set(outcomes(frame().assign(**dict.fromkeys(AlgorithmicBias.metrics, math.nan)))) == {"inconclusive"}


def test_rules_name_each_kind_of_control():
    kinds = [claim.kind for claim in AlgorithmicBias.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "negative", "positive", "gate", "gate"]


# -------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("kept", [False, True])
def test_picture(trial, kept):
    rows = pd.DataFrame(trial[0])
    for some in (rows, rows[rows.problem == "faces"], rows.iloc[:1], rows.iloc[:0], frame()):
        drawn(TINY, some, {100: trial[1]} if kept else {})
