"""adversarial_3d: its parts against what is known, a small run against what must be so, rules on made frames."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.errors import ParameterError
from dlbench_plugins.robustness import adversarial_3d as study
from dlbench_plugins.robustness.adversarial_3d import SHAPES, Adversarial3D, Case
from dlbench_plugins.robustness.rendering import BODIES, Flat, Solid, directions, grid

SMALL = {"training_images": 3000, "epochs": 6, "batch_size": 32, "objects": 1, "steps": 10, "eot_samples": 4}
SMALL |= {"held_out": 20}
TINY = {"bodies": ("cube", "turtle"), "shapes": ("disc", "cross"), "size": 12, "side": 4, "training_images": 24}
TINY |= {"epochs": 1, "objects": 1, "steps": 2, "eot_samples": 2, "held_out": 6}


@pytest.fixture(scope="module")
def run():
    """The rows and artefacts of one small trial."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    context = Context(seed=0)
    rows = pd.DataFrame(Adversarial3D(**SMALL).trial(context))
    torch.set_num_threads(before)
    return rows, context.kept


def value(rows, part, subject, metric="adversariality", view="new"):
    chosen = rows[(rows.part == part) & (rows.subject == subject) & (rows.view == view)]
    assert len(chosen) == 1
    return chosen[metric].iloc[0]


def case(scene, targets=(1, 2), eps=0.05, texels=96):
    generator = torch.Generator().manual_seed(0)
    texture = 0.3 + 0.4 * torch.rand(texels, 3, generator=generator)
    torch.manual_seed(0)
    net = study.network("cnn", 3).eval()
    return Case(net, scene, texture, 0, torch.tensor(targets), torch.tensor([5]), eps)


# ------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),  # red, magenta and cyan: the documentation of the crate lab 0.11
        ((1, 0, 1), (60.32, 98.24, -60.83)),
        ((0, 1, 1), (91.11, -48.08, -14.13)),
    ],
)
def test_cielab_of_known_colours(rgb, lab):
    found = study.cielab(torch.tensor(rgb, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(lab, dtype=torch.float64), atol=0.03, rtol=0)


def test_cielab_of_greys_is_lightness_alone():
    grey = torch.linspace(0, 1, 30_001, dtype=torch.float64)[:, None].expand(-1, 3)
    lab = study.cielab(grey)
    assert lab[:, 1:].abs().max() < 1e-6 and (lab[1:, 0] > lab[:-1, 0]).all()
    middle = ((0.5 + 0.055) / 1.055) ** 2.4
    assert float(study.cielab(torch.tensor([0.5, 0.5, 0.5]))[0]) == pytest.approx(116 * middle ** (1 / 3) - 16)
    assert (lab[1:, 0] - lab[:-1, 0]).max() < 0.005  # no jump where the two formulas meet


def test_the_axes_of_colour_are_far_apart():
    axes = study.colour_axes()
    cosines = (axes @ axes.T).abs()
    expected = torch.full((6, 6), 1 / math.sqrt(5)).fill_diagonal_(1)
    torch.testing.assert_close(cosines, expected)


def test_markings_vary_along_the_axis_of_the_kind():
    rng = np.random.default_rng(0)
    for kind in BODIES:
        texture = study.surfaces(kind, 40, directions(6), 0.12, rng)
        assert texture.shape == (40, 216, 3) and texture.min() >= 0 and texture.max() <= 1
        centred = texture - texture.mean(1, keepdim=True)
        spread = (centred @ study.colour_axes().T).std((0, 1))
        assert int(spread.argmax()) == list(BODIES).index(kind)
    plain = study.surfaces("cube", 200, directions(6), 0.0, rng)
    spread = (plain - plain.mean(1, keepdim=True)).std((0, 1))
    assert spread.max() / spread.min() < 1.1


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("disc", math.pi * 0.4**2),
        ("square", 2 * 0.5**2),
        ("triangle", 0.75 * math.sqrt(3) * 0.6**2),
        ("flower", math.pi * (0.36**2 + 0.14**2 / 2)),
        ("cross", 2 * 1.0 * 0.34 - 0.34**2),
        ("ellipse", math.pi * 0.5 * 0.25),
    ],
)
def test_areas_of_shapes(shape, area):
    place = grid(400, torch.empty(0))
    inside = place.norm(dim=1) < study.radius(shape, torch.atan2(place[:, 1], place[:, 0]))
    assert 4 * float(inside.float().mean()) == pytest.approx(area, rel=0.01)


def test_pictures_have_two_colours():
    for shape in SHAPES:
        x = study.pictures(shape, 5, 24, np.random.default_rng(0))
        assert x.shape == (5, 576, 3) and x.min() > 0.15 and x.max() < 0.85
        apart = x.amax(1) - x.amin(1)
        assert (apart >= 0.2 - 1e-6).all() and (apart <= 0.4 + 1e-6).all()


def test_networks_take_images_of_any_size():
    for model in ("cnn", "resnet"):
        assert study.network(model, 5).eval()(torch.rand(2, 3, 20, 20)).shape == (2, 5)


# ----------------------------------------------------------------------------------------------------------- attacks


@pytest.mark.parametrize("scene", [Solid(12, side=4), Flat(12, side=8)], ids=["solid", "flat"])
def test_attacks_keep_their_distance(scene):
    here = case(scene, texels=96 if isinstance(scene, Solid) else 64)
    made = here.attacked(Adversarial3D(**TINY | {"steps": 5}), seed=3)
    away = {name: (texture - here.texture).flatten(1).double().norm(dim=1) for name, texture in made.items()}
    greatest = 0.05 * math.sqrt(here.texture.numel())
    assert torch.equal(made["eot_eps_zero"], made["unperturbed"]) and not away["unperturbed"].any()
    assert (away["single_view"] <= greatest * (1 + 1e-6)).all() and (away["single_view"] > 0.5 * greatest).all()
    assert (away["eot"] <= away["single_view"] * (1 + 1e-6)).all() and (away["eot"] > 0.5 * greatest).all()
    torch.testing.assert_close(away["random_texture"], away["single_view"], rtol=1e-5, atol=0)
    for texture in made.values():
        assert texture.min() >= 0 and texture.max() <= 1


def test_what_is_added_to_every_object_goes_no_farther_than_it_may():
    here = case(Solid(12, side=4))
    added = torch.randn(len(here.targets), 96, 3, generator=torch.Generator().manual_seed(0))
    length = added.flatten(1).norm(dim=1)
    for share in (0.01, 0.5):
        textures = here.with_added(added, share * length)
        away = (textures - here.texture).flatten(1).norm(dim=1)
        assert (away <= share * length * (1 + 1e-6)).all() and (away > 0.5 * share * length).all()
        assert textures.min() >= 0 and textures.max() <= 1
    torch.testing.assert_close(here.with_added(added / 7, 0.01 * length), (here.texture + 0.01 * added).clamp(0, 1))
    assert torch.equal(here.with_added(added, 0 * length), here.texture.expand_as(added))
    assert torch.equal(here.with_added(0 * added, length), here.texture.expand_as(added))


def test_a_universal_perturbation_is_made_for_other_objects_of_all_kinds(monkeypatch):
    tiny = Adversarial3D(**TINY)
    context = Context(seed=0)
    part = tiny.parts()[0]
    net = study.network("cnn", 2).eval()
    drawn, photographed = {}, []
    photograph = Solid.photograph
    monkeypatch.setattr(
        Solid,
        "photograph",
        lambda self, textures, *words: (
            photographed.append((self.body, len(textures))) or photograph(self, textures, *words)
        ),
    )
    draw = part.draw
    part = study.replace(part, draw=lambda kind, n, rng: drawn.setdefault(kind, draw(kind, n, rng)))
    found = study.universal(part, net, tiny, context)
    length = tiny.eps_3d * math.sqrt(found[0].numel())
    assert found.shape == (2, 96, 3) and (found.flatten(1).norm(dim=1) <= length * (1 + 1e-6)).all()
    assert (found.flatten(1).norm(dim=1) > 0.3 * length).all() and not torch.equal(found[0], found[1])
    assert set(drawn) == {"cube", "turtle"} == {body for body, n in photographed if n}
    attacked = draw("cube", 1, context.rng("textures", "3d", "cube"))
    assert len(drawn["cube"]) == study.OTHERS and not (drawn["cube"] == attacked).flatten(1).all(1).any()


def test_distances_are_those_of_the_textures():
    here = case(Solid(12, side=4))
    found = study.distances(here, here.texture + 0.05)
    assert found["rms"] == pytest.approx(0.05, rel=1e-5) and found["budget_used"] == pytest.approx(1, rel=1e-5)
    grey = here.texture.new_full((1, 3), 0.5)
    only = Case(here.net, here.scene, grey, 0, here.targets, here.own, 0.1)
    lightness = float(study.cielab(grey + 0.1)[0, 0] - study.cielab(grey)[0, 0])
    assert study.distances(only, grey + 0.1)["lab_distance"] == pytest.approx(lightness, rel=1e-4)


def test_in_its_own_view_only_the_noise_is_new():
    here = case(Solid(12, side=4, noise=0.02))
    same = here.texture.expand(3, -1, -1)
    own = here.in_own_view(same, torch.tensor([1, 2, 3]))
    assert own.shape == (3, 3, 12, 12) and 0 < (own[0] - own[1]).abs().max() < 0.2
    quiet = case(Solid(12, side=4, noise=0.0))
    own, new = (look(same, torch.tensor([1, 2, 3])) for look in (quiet.in_own_view, quiet.in_new_views))
    assert torch.equal(own[0], own[2]) and (new[0] - new[1]).abs().max() > 0.2
    torch.testing.assert_close(own[0], quiet.in_new_views(same[:1], quiet.own)[0])


def test_no_attack_sees_the_views_that_judge(monkeypatch):
    seen, judges = set(), set()
    new_views, words = Case.in_new_views, study.words

    def spy(self, textures, draws):
        seen.update(draws.tolist())
        return new_views(self, textures, draws)

    def named(context, n, *axis):
        drawn = words(context, n, *axis)
        if axis[0] != "own":
            judges.update(drawn.tolist())
        return drawn

    monkeypatch.setattr(Case, "in_new_views", spy)
    monkeypatch.setattr(study, "words", named)
    list(Adversarial3D(**TINY).trial(Context(seed=0)))
    pairs = 2 * 2
    assert len(seen) >= pairs * TINY["steps"] * TINY["eot_samples"]  # new ones in each step
    assert len(judges) > 50 and not seen & judges


# -------------------------------------------------------------------------------------------------------- small runs


def test_rows_are_complete_and_lie_in_range(run):
    rows, _ = run
    assert not rows.duplicated(["part", "subject", "view", "angle"]).any()
    assert set(rows.columns) == {"part", "subject", "view", "angle", *Adversarial3D.metrics}
    for name, metric in Adversarial3D.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    sizes = rows.groupby(["part", "view"]).size().to_dict()
    six = {("3d", "new"): 6, ("3d", "own"): 6, ("2d", "new"): 6, ("2d", "own"): 6}
    assert sizes == six | {("2d", "turned"): 6 * len(study.ANGLES)}
    assert sorted(rows.angle.dropna().unique()) == list(study.ANGLES)


def test_the_effect_is_there_and_chance_has_it_not(run):
    rows, _ = run
    for part in ("3d", "2d"):
        assert value(rows, part, "eot") > value(rows, part, "single_view") + 0.1
        assert value(rows, part, "single_view", view="own") > value(rows, part, "single_view") + 0.2
        assert value(rows, part, "random_texture") < 0.2 < value(rows, part, "eot")
        assert value(rows, part, "eot_eps_zero", "rms") == 0
        assert value(rows, part, "eot_eps_zero") == value(rows, part, "unperturbed")
        assert value(rows, part, "unperturbed", "accuracy") > 0.6
        assert value(rows, part, "eot", "budget_used") <= 1.0001
        used = value(rows, part, "single_view", "budget_used")
        assert 0.9 * used < value(rows, part, "universal", "budget_used") <= used * (1 + 1e-6)
        assert value(rows, part, "unperturbed") < value(rows, part, "universal") < value(rows, part, "eot")


def test_what_is_kept_is_a_turtle_and_a_disc(run):
    _, kept = run
    for part, label, target in (("3d", 2, 3), ("2d", 0, 1)):
        assert kept[f"{part}_images"].shape == (study.SHOWN, 3, 3, 32, 32)
        assert kept[f"{part}_answers"].shape == (study.SHOWN, 3)
        assert kept[f"{part}_kinds"].tolist() == [label, target]
        assert len(kept[f"{part}_eot"]) == len(kept[f"{part}_single_view"]) == 12 * SMALL["objects"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows():
    first, again, other = (repr(list(Adversarial3D(**TINY).trial(Context(seed=seed)))) for seed in (3, 3, 4))
    assert first == again != other


def test_the_full_protocol_in_small():
    full = Adversarial3D.preset("full")
    assert len(full.bodies) == len(full.shapes) == 6 and full.eot_samples >= 40
    small = Adversarial3D.preset("full", TINY)
    assert small.model == "resnet"
    context = Context(seed=0)
    rows = pd.DataFrame(small.trial(context))
    small.plot(rows.set_index(pd.Index([0] * len(rows), name="seed")), Figure(), {0: context.kept})
    assert len(context.kept["3d_eot"]) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bodies": ("cube",)}, "two kinds"),
        ({"shapes": ("disc", "disc")}, "each once"),
        ({"bodies": ("cube", "teapot")}, "one of"),
        ({"eps_3d": 0.0}, "eps_3d"),
    ],
)
def test_impossible_parameters(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Adversarial3D(**wrong)


# ------------------------------------------------------------------------------------------------------------- rules


def made_rows(**changes):
    """Eight seeds of rows under which everything holds, but for what is changed: subject_metric=value."""
    adversariality = {"unperturbed": 0.01, "random_texture": 0.01, "single_view": 0.2, "eot": 0.8, "eot_eps_zero": 0.01}
    accuracy = {"unperturbed": 0.98, "random_texture": 0.97, "single_view": 0.7, "eot": 0.1, "eot_eps_zero": 0.98}
    used = {"unperturbed": 0.0, "random_texture": 0.99, "single_view": 0.98, "eot": 0.97, "eot_eps_zero": 0.0}
    used |= changes.get("used", {})
    accuracy |= changes.get("accuracy", {})
    rows = []
    for seed in range(8):
        jitter = 0.001 * (seed - 3.5)
        for part in ("3d", "2d"):
            taken = adversariality | changes.get("taken", {}) | changes.get(f"taken_{part}", {})
            for subject, share in taken.items():
                base = {"seed": seed, "part": part, "subject": subject}
                moved = {"rms": 0.05 * used[subject], "budget_used": used[subject] * (1 - abs(jitter))}
                right = {"accuracy": accuracy[subject] + jitter, "adversariality": share + jitter}
                rows.append(base | {"view": "new"} | right | moved)
                own = changes.get("own", 0.98) if subject == "single_view" else share
                rows.append(base | {"view": "own", "adversariality": own + jitter})
                for angle in study.ANGLES:
                    far = share - changes.get("lost", 0.3) * (abs(angle) >= study.OUTSIDE)
                    rows.append(base | {"view": "turned", "angle": float(angle), "adversariality": far + jitter})
    return pd.DataFrame(rows).set_index("seed")


def failing(frame):
    return {claim.statement for claim in Adversarial3D.claims if claim.rule(frame).outcome != "holds"}


def test_every_rule_can_hold():
    assert failing(made_rows()) == set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"taken_3d": {"single_view": 0.55}}, ["texture of a body"]),
        ({"taken_3d": {"eot": 0.45, "single_view": 0.05}}, ["texture of a body"]),
        ({"taken_2d": {"single_view": 0.55}}, ["a picture"]),
        ({"taken_2d": {"eot": 0.45, "single_view": 0.05}}, ["a picture"]),
        ({"lost": 0.05}, ["turned by 45"]),
        ({"used": {"eot_eps_zero": 0.1}}, ["eps = 0"]),
        ({"taken": {"eot_eps_zero": 0.1}}, ["eps = 0"]),
        ({"taken_2d": {"random_texture": 0.1}}, ["random texture"]),
        ({"accuracy": {"random_texture": 0.9}}, ["random texture"]),
        ({"own": 0.8}, ["in its own view"]),
        ({"accuracy": {"unperturbed": 0.93, "random_texture": 0.93}}, ["are trained"]),
        ({"used": {"eot": 1.2, "random_texture": 1.2, "single_view": 1.2}}, ["no farther"]),
        ({"used": {"single_view": 0.95}}, ["no farther"]),
        ({"used": {"random_texture": 0.95}}, ["no farther"]),
    ],
)
def test_each_rule_can_fail(changes, words):
    failed = failing(made_rows(**changes))
    assert len(failed) == len(words) and all(any(word in statement for statement in failed) for word in words), failed


def test_controls_are_declared():
    kinds = [claim.kind for claim in Adversarial3D.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "negative", "positive", "gate", "gate"]


# ----------------------------------------------------------------------------------------------------------- picture


def test_the_picture(run):
    rows, kept = run
    frame = pd.concat([rows.assign(seed=seed) for seed in range(3)]).set_index("seed")
    figure = Figure()
    Adversarial3D().plot(frame, figure, {1: kept, 2: kept})
    figure.canvas.draw()
    views = [axes for axes in figure.axes if axes.images]
    histogram, curve = (axes for axes in figure.axes if axes.get_xlabel())
    assert len(views) == 2 * 3 * study.SHOWN and len(curve.lines) == 3 and len(curve.collections) == 3
    assert sum(patch.get_height() for patch in histogram.patches) == pytest.approx(2)  # two distributions
    first = [axes.spines["left"].get_edgecolor() for axes in views[: study.SHOWN]]
    assert len(set(first)) <= 3


@pytest.mark.parametrize("rows", [pd.DataFrame(), pd.DataFrame({"subject": ["eot"], "part": ["3d"]}, index=[0])])
def test_the_picture_of_nothing(rows):
    figure = Figure()
    Adversarial3D().plot(rows, figure, {})
    figure.canvas.draw()
    assert not any(axes.images for axes in figure.axes)


def test_published_numbers_name_metrics_that_exist():
    for reference in Adversarial3D.references:
        metric = Adversarial3D.metrics[reference.metric]
        assert metric.low <= reference.value <= metric.high and "read in" in reference.note
