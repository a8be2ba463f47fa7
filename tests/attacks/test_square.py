"""Square Attack: its windows and schedule, closed forms on linear models, the exact promises, and a peer."""

import math

import pytest
import torch
from torch import nn

from dlbench import attacks
from dlbench.attacks.geometry import distance
from dlbench.attacks.square import bump, cells, placed, window_side

from .conftest import held_out, jitter

NORMS = ("linf", "l2")
SHAPE = (2, 6, 6)
EPS = {"linf": 0.03, "l2": 0.1}


class Linear(nn.Module):
    """Two classes, a weight a pixel, on images [n, 1, 6, 6] in float64."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(36, generator=torch.Generator().manual_seed(3), dtype=torch.float64))

    def forward(self, x):
        score = ((x - 0.5).flatten(1) * self.w).sum(1)
        return torch.stack([score, -score], 1)


@pytest.fixture
def problem():
    model = Linear()
    x = 0.2 + 0.6 * torch.rand(60, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return model, x, model(x).argmax(1)


# ----------------------------------------------------------------------------------------------------------- windows


def test_the_schedule_is_the_authors():
    def authors(query, queries, p):
        at = int(query / queries * 10000)
        edges = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
        return p / 2 ** next((i for i, edge in enumerate(edges) if at <= edge), 9)

    for queries in (100, 5000, 10_000):
        for query in range(0, queries, 7):
            side = max(round(math.sqrt(authors(query, queries, 0.8) * 32 * 32)), 1)
            assert window_side(query, queries, 0.8, 32, 32) == side
    assert [window_side(q, 10_000, 0.8, 32, 32) for q in (0, 10, 11, 51, 8001)] == [29, 29, 20, 14, 1]
    assert window_side(0, 100, 1.0, 4, 40) == 4  # no larger than the image


def asked(norm, shape, queries, *, better, n=50):
    """Samples [n, *shape], and the points [queries, n, *shape] about which a model is asked that never errs.

    Each answer is better than the one before, or none is.
    """
    seen = []

    def model(points):
        seen.append(points.clone())
        return torch.tensor([[5.0 - 1e-3 * len(seen) * better, 0.0]]).expand(len(points), 2)

    x = torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    attacks.square(model, x, torch.zeros(n, dtype=torch.int64), eps=0.1, norm=norm, queries=queries)
    assert torch.equal(seen[0], x) and len(seen) == queries + 1
    return x, torch.stack(seen[1:])


def test_stripes_then_windows_of_one_sign_a_channel_that_always_change_something():
    x, points = asked("linf", (3, 9, 7), 60, better=False)
    down = (points - x) < 0
    torch.testing.assert_close((points - x).abs(), torch.full_like(points, 0.1))
    assert (
        torch.equal(down[0].sum(2) % 9, torch.zeros(50, 3, 7, dtype=torch.int64)) and 0.4 < down.double().mean() < 0.6
    )
    changed = down[1:] != down[0]
    assert changed.flatten(2).any(2).all()
    sides = torch.tensor([window_side(query, 60, 0.8, 9, 7) for query in range(59)])
    assert (changed.any(2).flatten(2).sum(2) <= sides[:, None].square()).all()
    single = changed[sides == 1].any(2)  # one pixel, anywhere, the last row and column among them
    assert (single.flatten(2).sum(2) == 1).all() and single.flatten(0, 1).any(0).all()


def test_windows_are_squares_inside_the_image():
    torch.manual_seed(0)
    for side, height, width in ((1, 9, 7), (3, 9, 7), (7, 9, 7)):
        inside = cells(placed(torch.rand(2000, 2) * 2 - 1, side, height, width), side, width)
        assert inside.shape == (2000, side * side) and (inside.sort(1).values.diff(dim=1) > 0).all()
        for places, length in ((inside // width, height), (inside % width, width)):
            first = places.amin(1)
            assert torch.equal(first.unique(), torch.arange(length - side + 1))
            assert (places.amax(1) - first == side - 1).all()


def test_a_bump_is_a_hill_above_its_negative():
    for side in (1, 2, 3, 5, 8):
        shape = bump(side)
        assert shape.shape == (side, side) and abs(float(shape.norm()) - 1) < 1e-12
        assert (shape[: side // 2] > 0).all() and (shape[side // 2 :] < 0).all()
    ratio = bump(7)[:3] / bump(7)[0, 0]  # rings of 1/16, 1/16 + 1/9, 1/16 + 1/9 + 1/4, and 1 more in the middle
    rings = torch.tensor([1 / 16, 1 / 16 + 1 / 9, 1 / 16 + 1 / 9 + 1 / 4, 1 / 16 + 1 / 9 + 1 / 4 + 1]) * 16
    torch.testing.assert_close(ratio[1, :4], rings.double())


def test_in_l2_the_perturbation_moves_and_stays_on_the_sphere():
    x, points = asked("l2", (3, 16, 16), 60, better=True)
    lengths = torch.stack([distance(point, x, "l2") for point in points])
    assert (lengths <= 0.1).all() and (lengths >= 0.1 * (1 - 1e-5)).all()
    changed = (points.diff(dim=0).abs() > 1e-6).any(2).flatten(2).sum(2)
    sides = torch.tensor([max(window_side(query, 60, 0.8, 16, 16), 3) | 1 for query in range(59)])
    most = 2 * sides[:, None].square()
    assert (changed <= most).double().mean() > 0.99  # where a channel's bumps cancel out, the others grow
    assert (changed > 0).double().mean() > 0.9


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (2, 4, 4), (1, 28, 11), (3, 5, 32)])
@pytest.mark.parametrize("norm", NORMS)
def test_any_size_of_image(norm, shape):
    x, points = asked(norm, shape, 10, better=True)
    assert torch.isfinite(points).all() and (points != x).flatten(1).any(1).all()


# ------------------------------------------------------------------------------------------------------ closed forms


def test_on_a_linear_model_it_comes_close_to_the_optimum_and_never_past_it(problem):
    model, x, y = problem
    margin = model(x).detach().diff().abs().squeeze(1)
    for norm, dual in (("linf", 1), ("l2", 2)):
        radius = margin / (2 * torch.linalg.vector_norm(model.w.detach(), dual))
        eps = float(radius.median())
        found = attacks.square(model, x, y, eps=eps, norm=norm, queries=600)
        assert not (found.success & (radius > eps)).any()
        assert (found.success | (radius > eps * 0.6)).all(), norm
        assert found.attack_success_rate > 0.3
        held = ~found.success
        assert (found.forwards[held] == 601).all() and (found.first_step[held] == -1).all()
        assert (found.backwards == 0).all()
        assert torch.equal(found.forwards[found.success], found.first_step[found.success] + 1)


@pytest.mark.parametrize("loss", ["margin", "ce"])
def test_a_target_is_harder_to_reach_than_any_wrong_class(row_wise, loss):
    model, x, y = row_wise(SHAPE)
    settings = {"eps": 0.05, "queries": 100, "loss": loss}
    untargeted = attacks.square(model, x, y, **settings)
    target = (y + 1) % 4
    targeted = attacks.square(model, x, y, target=target, **settings)
    assert 0 < targeted.attack_success_rate <= untargeted.attack_success_rate
    assert torch.equal(targeted.label_adv == target, targeted.success)


# --------------------------------------------------------------------------------------------------------- relations


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_attack_what_withstood(row_wise, norm):
    model, x, y = row_wise(SHAPE)
    settings = {"eps": 2 * EPS[norm], "norm": norm, "queries": 30}
    one, three = (attacks.square(model, x, y, restarts=n, **settings) for n in (1, 3))
    assert not (one.success & ~three.success).any()
    assert torch.equal(three.x_adv[one.success], one.x_adv[one.success])
    assert (three.forwards[~three.success] == 1 + 3 * 30).all() and (three.first_step >= -1).all()
    assert (three.loss >= one.loss).all() and (three.loss > one.loss).any()


# --------------------------------------------------------------------------------------- random models and transforms


@pytest.mark.parametrize("norm", NORMS)
def test_all_queries_of_a_restart_undergo_the_same_transforms(row_wise, norm):
    model, x, y = row_wise(SHAPE)
    x, y = x[3:], model(x).argmax(1)[3:]
    seen = []

    def watched(points, draws):
        seen.append(draws.clone())
        return points

    attacks.square(model, x, y, eps=1e-9, norm=norm, queries=4, restarts=2, eot_samples=3, transform=watched)
    clean, *queries = seen
    first, second = queries[:4], queries[4:]
    for restart in (first, second):
        assert len(restart) == 4 and all(torch.equal(draws, restart[0]) for draws in restart)
    words = torch.cat([clean, first[0], second[0]])
    assert len(words.unique()) == len(words) == 3 * 3 * len(x)


@pytest.mark.parametrize("norm", NORMS)
def test_draws_name_the_transform_whatever_the_batch(row_wise, norm):
    model, x, y = row_wise(SHAPE)
    settings = {"eps": 2 * EPS[norm], "norm": norm, "queries": 10, "restarts": 2}
    settings |= {"transform": jitter, "eot_samples": 3}
    whole = attacks.square(model, x, y, **settings)
    ids = torch.arange(len(x))
    parts = [
        attacks.square(model, x[i : i + 9], y[i : i + 9], sample_ids=ids[i : i + 9], **settings)
        for i in range(0, len(x), 9)
    ]
    assert 0 < whole.attack_success_rate < 1
    for name in ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct", "norm"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


@pytest.mark.parametrize("norm", NORMS)
def test_every_answer_is_counted(row_wise, norm):
    model, x, y = row_wise(SHAPE)
    result = attacks.square(model, x, y, eps=1e-9, norm=norm, queries=7, eot_samples=4, transform=jitter)
    held = result.clean_correct & ~result.success
    assert held.any() and (result.forwards[held] == 4 * (1 + 7)).all() and (result.backwards == 0).all()
    assert (result.forwards % 4 == 0).all() and sum(model.batches) == int(result.forwards.sum())


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 0.5)])
def test_with_many_answers_other_draws_confirm_what_was_found(row_wise, norm, eps):
    model, x, _ = row_wise((1, 3, 4))
    y = model(x).argmax(1)
    result = attacks.square(model, x, y, eps=eps, norm=norm, queries=200, eot_samples=25, transform=jitter)
    found = result.success & result.clean_correct
    wrong = (held_out(model, result.x_adv) != y[:, None]).double().mean(1)
    assert found.sum() > len(x) / 2 and (wrong[found] > 0.5).double().mean() > 0.8
    assert wrong.mean() > (held_out(model, x) != y[:, None]).double().mean() + 0.2


@pytest.mark.parametrize("norm", NORMS)
def test_a_model_with_dropout_left_on(row_wise, norm):
    model, x, y = row_wise(SHAPE)
    random = lambda points: model(nn.functional.dropout(points, 0.1))  # noqa: E731
    torch.manual_seed(0)
    state = torch.get_rng_state()
    settings = {"eps": EPS[norm], "norm": norm, "queries": 20, "eot_samples": 5}
    result, again = (attacks.square(random, x, y, **settings) for _ in range(2))
    assert torch.equal(result.x_adv, again.x_adv) and torch.equal(torch.get_rng_state(), state)
    assert 0 < result.attack_success_rate < 1 and (result.forwards % 5 == 0).all()


def test_a_transform_needs_no_derivative(row_wise):
    model, x, y = row_wise(SHAPE)
    result = attacks.square(model, x, y, eps=0.1, queries=30, transform=lambda points, _: (points * 8).round() / 8)
    assert result.attack_success_rate > 0.3
    assert torch.equal(model((result.x_adv * 8).round() / 8).argmax(1), result.label_adv)


# ---------------------------------------------------------------------------------------------------- exact promises


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_the_ball_and_the_bounds_hold_and_labels_are_found_again(norm, dtype, size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 24), nn.ReLU(), nn.Linear(24, 5)).to(dtype)
    x = (torch.rand(60, *SHAPE, dtype=dtype) * 1.4 - 0.2).clamp(0, 1)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    eps = size * {"linf": 0.05, "l2": 0.3}[norm]
    result = attacks.square(model, x, y, eps=eps, norm=norm, queries=60)
    assert (distance(result.x_adv, x, norm) <= eps).all()
    assert ((result.x_adv >= 0) & (result.x_adv <= 1)).all()
    assert size < 1 or 0 < result.attack_success_rate < 1
    logits = model(result.x_adv)
    assert torch.equal(logits.argmax(1), result.label_adv) and torch.equal(result.label_adv != y, result.success)
    assert torch.equal(result.x_adv[0], x[0])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("batch", [1, 7])
def test_a_split_into_batches_changes_nothing(row_wise, norm, batch):
    model, x, y = row_wise(SHAPE)
    settings = {"eps": EPS[norm], "norm": norm, "restarts": 2, "queries": 10, "seed": 5}
    whole = attacks.square(model, x, y, **settings)
    ids = torch.arange(len(x))
    parts = [
        attacks.square(model, x[i : i + batch], y[i : i + batch], sample_ids=ids[i : i + batch], **settings)
        for i in range(0, len(x), batch)
    ]
    assert 0 < whole.attack_success_rate < 1
    for name in ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct", "norm"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


@pytest.mark.parametrize("norm", NORMS)
def test_decided_samples_leave_the_batch(row_wise, norm):
    model, x, y = row_wise(SHAPE)
    result = attacks.square(model, x, y, eps=EPS[norm], norm=norm, queries=40)
    assert model.batches[:2] == [len(x), len(x) - 3]
    assert model.batches == sorted(model.batches, reverse=True) and 0 < model.batches[-1] < len(x) - 3
    assert sum(model.batches) == int(result.forwards.sum()) and len(model.batches) == 41


def test_the_seed_decides(row_wise):
    model, x, y = row_wise(SHAPE)
    for norm in NORMS:
        same = [attacks.square(model, x, y, eps=0.01, norm=norm, queries=5, seed=seed).x_adv for seed in (1, 1, 2)]
        assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


@pytest.mark.parametrize("norm", NORMS)
def test_other_bounds_and_the_order_in_memory(row_wise, norm):
    model, x, y = row_wise(SHAPE)
    plain = attacks.square(model, x, y, eps=0.05, norm=norm, queries=20)
    wide = attacks.square(
        lambda x: model(x / 4 + 0.5), 4 * x - 2, y, eps=0.2, norm=norm, queries=20, bounds=(-2.0, 2.0)
    )
    assert torch.equal(wide.success, plain.success)
    torch.testing.assert_close(wide.x_adv / 4 + 0.5, plain.x_adv)
    last = attacks.square(model, x.contiguous(memory_format=torch.channels_last), y, eps=0.05, norm=norm, queries=20)
    torch.testing.assert_close(last.x_adv, plain.x_adv)


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_for_each_sample_a_mask_and_bounds_by_channel(row_wise, norm):
    model, x, y = row_wise(SHAPE)
    eps = torch.linspace(0, 0.2, len(x)).double()
    every = attacks.square(model, x, y, eps=eps, norm=norm, queries=20)
    for i in (0, 10, 39):
        one = {"sample_ids": torch.tensor([i]), "norm": norm, "queries": 20}
        alone = attacks.square(model, x[i : i + 1], y[i : i + 1], eps=float(eps[i]), **one)
        assert torch.equal(alone.x_adv[0], every.x_adv[i])
    assert (every.norm <= eps).all()
    mask = torch.arange(len(x)) % 2 == 0
    some = attacks.square(model, x, y, eps=eps, norm=norm, queries=20, mask=mask)
    assert torch.equal(some.x_adv[~mask], x[~mask]) and torch.equal(some.x_adv[mask], every.x_adv[mask])
    bounds = (torch.tensor([-0.1, 0.0]), torch.tensor([1.0, 1.2]))
    wide = attacks.square(model, x, y, eps=0.2, norm=norm, queries=20, bounds=bounds)
    assert (wide.x_adv >= bounds[0].view(2, 1, 1)).all() and (wide.x_adv <= bounds[1].view(2, 1, 1)).all()
    assert wide.x_adv.min() < 0 or wide.x_adv.max() > 1


def test_labels_are_those_of_the_model_in_whatever_form_it_was_asked():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4)).eval()
    x = torch.rand(100, 3, 6, 6)
    y = net(x).argmax(1)
    result = attacks.square(attacks.Rewritten(net, x), x, y, eps=0.02, queries=50)
    assert torch.equal(net(result.x_adv).argmax(1), result.label_adv) and 0 < result.attack_success_rate < 1
    assert torch.equal(result.success, result.label_adv != y) and (result.norm <= 0.02).all()


@pytest.mark.parametrize("norm", NORMS)
def test_eps_zero_changes_nothing_and_no_samples_are_no_trouble(row_wise, norm):
    model, x, y = row_wise(SHAPE, classes=2)
    result = attacks.square(model, x, y, eps=0.0, norm=norm)
    assert torch.equal(result.x_adv, x) and torch.equal(result.success, ~result.clean_correct)
    assert (result.forwards == 1).all()
    assert attacks.square(model, x[:0], y[:0], eps=0.1, norm=norm).x_adv.shape == (0, *SHAPE)


# ---------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("fail_at", [None, 1, 4])
def test_the_model_is_left_as_it_was(awkward, norm, fail_at):
    with awkward((3, 2, 2), fail_at) as (model, x, y):
        if fail_at is None:
            attacks.square(model, x, y, eps=0.1, norm=norm, queries=10, restarts=2)
        else:
            with pytest.raises(RuntimeError, match="say"):
                attacks.square(model, x, y, eps=0.1, norm=norm, queries=10, restarts=2)


def test_it_works_under_inference_mode(row_wise):
    model, x, y = row_wise(SHAPE)
    for norm in NORMS:
        expected = attacks.square(model, x, y, eps=0.02, norm=norm, queries=10)
        with torch.inference_mode():
            result = attacks.square(model, x.clone(), y.clone(), eps=0.02, norm=norm, queries=10)
        assert torch.equal(result.x_adv, expected.x_adv)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l1"}, "'l1'; it must be 'linf' or 'l2'"),
        ({"x": torch.zeros(40, 72)}, r"images \[N, channels, height, width\]; got \[40, 72\]"),
        ({"eps": float("inf")}, "eps is inf"),
        ({"queries": 0}, "queries is 0"),
        ({"restarts": 0}, "restarts is 0"),
        ({"eot_samples": 0}, "eot_samples is 0"),
        ({"p_init": 0.0}, "p_init is 0"),
        ({"p_init": 1.5}, "p_init is 1.5"),
        ({"loss": "mse"}, "'mse'"),
        ({"target": 9}, "target has labels from 9"),
        ({"model": lambda x: x.sum((1, 2, 3))}, "not logits"),
    ],
)
def test_errors_name_what_was_given(row_wise, change, message):
    model, x, y = row_wise(SHAPE)
    with pytest.raises(ValueError, match=message):
        attacks.square(**{"model": model, "x": x, "y": y, "eps": 0.1} | change)


# ------------------------------------------------------------------------------------------------------------- peers


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("linf", 0.1), ("l2", 0.3), ("l2", 0.6)])
def test_torchattacks_fools_no_more(digits_cnn, norm, eps):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = digits_cnn
    peer = torchattacks.Square(model, norm=norm.capitalize(), eps=eps, n_queries=300)
    theirs = float((model(peer(x, y)).argmax(1) == y).double().mean())
    ours = attacks.square(model, x, y, eps=eps, norm=norm, queries=300).robust_accuracy
    print(f"\nSquare {norm} eps {eps:g}: robust accuracy {ours:.3f}, torchattacks {theirs:.3f}")
    assert ours <= theirs + 0.02


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_bumps_are_those_of_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    peer = torchattacks.Square(nn.Identity(), norm="L2")
    peer.device = "cpu"
    for side in (1, 2, 3, 5, 6, 9, 28):
        theirs, ours = peer.eta(side), bump(side).float()
        assert min((theirs - ours).abs().max(), (theirs.T - ours).abs().max()) < 1e-6
