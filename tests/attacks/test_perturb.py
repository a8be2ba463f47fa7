"""The engine's shortcuts change nothing: cycles, waves of restarts, rewritten models, limits by sample or channel."""

import copy

import pytest
import torch
from torch import nn

from dlbench import attacks, ops
from dlbench.attacks import restarts
from dlbench.attacks.rewrite import Rewritten

from .conftest import jitter
from .test_gradient import D, K, N, RowWise, linear


@pytest.fixture
def problem():
    model = RowWise()
    x = torch.rand(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % K
    model.batches.clear()
    return model, x, y


@pytest.fixture
def net():
    """A small convolutional network with batch norms that have seen data, and images that it gets right."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, K),
    )
    x = torch.rand(150, 3, 6, 6)
    with torch.no_grad():
        for _ in range(20):
            net(x)
    net.eval()
    with torch.no_grad():
        return net, x, net(x).argmax(1)


def same(a, b, names=("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct")):
    for name in names:
        assert torch.equal(getattr(a, name), getattr(b, name)), name


# ------------------------------------------------------------------------------------------------------------- cycles


def test_ends_at_cycles_and_finds_what_all_steps_find(problem):
    model, x, y = problem
    settings = {"eps": 0.06, "step_size": 0.01, "steps": 200, "restarts": 2}
    every = attacks.pgd(model, x, y, **settings, stop="success")
    fewer = attacks.pgd(model, x, y, **settings)
    same(every, fewer)
    assert fewer.cycled.any() and not every.cycled.any()
    robust = ~every.success
    assert (every.backwards[robust] == 400).all() and fewer.backwards[robust].double().mean() < 100


def test_a_model_that_answers_differently_each_time_is_not_believed_to_cycle():
    model = linear()
    y = model(x := torch.rand(20, D, dtype=torch.float64)).argmax(1)
    calls = 0

    def moody(x):
        nonlocal calls
        calls += 1
        return model(x) * (1 + 1e-9 * calls)

    sure = attacks.pgd(model, x, y, eps=1e-6, steps=30)
    unsure = attacks.pgd(moody, x, y, eps=1e-6, steps=30)
    assert sure.cycled.all() and (sure.backwards < 30).all()
    assert not unsure.cycled.any() and (unsure.backwards == 30).all()


@pytest.mark.parametrize("other", [{"momentum": 0.5}, {"eot_samples": 2}, {"stop": "never"}, {"compact": False}])
def test_cycles_are_not_looked_for_where_steps_differ(problem, other):
    model, x, y = problem
    if "momentum" in other and not hasattr(attacks.climb.ops, "momentum_step_"):
        pytest.skip("needs momentum_step_")
    result = attacks.perturb(model, x, y, eps=1e-9, steps=10, **other)
    assert not result.cycled.any()


# ------------------------------------------------------------------------------------------------- restarts, batches


def test_restarts_side_by_side_are_restarts_one_by_one(problem, monkeypatch):
    model, x, y = problem
    settings = {"eps": 0.08, "steps": 10, "restarts": 7, "seed": 3}
    waves = attacks.pgd(model, x[:9], y[:9], **settings)
    largest = max(model.batches)
    monkeypatch.setattr(restarts, "FEW", 1)
    alone = attacks.pgd(model, x[:9], y[:9], **settings)
    same(alone, waves)
    assert largest > 9 and 0 < waves.attack_success_rate < 1
    held = ~waves.success
    assert held.any() and torch.equal(waves.backwards[held], alone.backwards[held])


def test_the_first_restart_begins_where_it_is_told(problem):
    model, x, y = problem
    drawn = ops.random_start(x, eps=0.08, seed=5, restart=0)
    settings = {"eps": 0.08, "steps": 10, "restarts": 3}
    told = attacks.pgd(model, x, y, start=drawn, seed=5, **settings)
    same(told, attacks.pgd(model, x, y, seed=5, **settings))
    still = {"steps": 1, "step_size": 0.0, "random_start": False, "stop": "never", "keep": "last"}
    far = attacks.pgd(model, x, y, start=x + 100, eps=0.08, **still)
    torch.testing.assert_close(far.x_adv[far.clean_correct], (x + 0.08).clamp(max=1)[far.clean_correct])
    again = attacks.pgd(model, x, y, start=told.x_adv, eps=0.08, steps=1)
    assert again.success[told.success].all() and told.success.any()
    for norm in ("l2", "l1"):
        inside = attacks.pgd(model, x, y, start=1 - x, eps=0.5, norm=norm, steps=3)
        assert (inside.norm <= 0.5).all()


def test_a_start_that_does_not_fit_is_refused(problem):
    model, x, y = problem
    for bad, words in [
        (x[:2], "start is torch.float64"),
        (x.float(), "it must be as x is: torch.float64"),
        (x.numpy(), "start is a ndarray"),
        (x / 0, "infinite or no numbers"),
    ]:
        with pytest.raises(ValueError, match=words):
            attacks.pgd(model, x, y, eps=0.1, start=bad)
    with pytest.raises(TypeError, match="fgsm takes no start"):
        attacks.fgsm(model, x, y, eps=0.1, start=x)


def test_points_that_stay_in_the_batch_change_nothing(problem):
    model, x, y = problem
    settings = {"eps": 0.08, "steps": 12, "restarts": 2, "stop": "success"}
    leaving = attacks.pgd(model, x, y, **settings)
    model.batches.clear()
    staying = attacks.pgd(model, x, y, compact=False, **settings)
    same(leaving, staying)
    assert len(set(model.batches)) == 3  # everyone, and those that each of two restarts began with


def test_a_mask_leaves_the_others_alone(problem):
    model, x, y = problem
    mask = torch.arange(N) % 2 == 0
    some, every = (attacks.pgd(model, x, y, eps=0.1, mask=m) for m in (mask, None))
    assert torch.equal(some.x_adv[~mask], x[~mask]) and (some.backwards[~mask] == 0).all()
    assert torch.equal(some.x_adv[mask], every.x_adv[mask]) and torch.equal(some.clean_correct, every.clean_correct)


# -------------------------------------------------------------------------------------------------------------- limits


def test_a_radius_for_each_sample_is_a_loop_over_radii(problem):
    model, x, y = problem
    eps = torch.linspace(0, 0.2, N, dtype=torch.float64)
    whole = attacks.pgd(model, x, y, eps=eps, steps=8, restarts=2)
    parts = [
        attacks.pgd(
            model, x[i : i + 1], y[i : i + 1], eps=float(eps[i]), steps=8, restarts=2, sample_ids=torch.tensor([i])
        )
        for i in range(N)
    ]
    for name in ("x_adv", "success", "first_step"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
    assert (whole.norm <= eps).all()


def test_bounds_by_channel_are_those_of_inputs_that_are_not_normalised(net):
    model, x, y = net
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.25, 0.5, 0.125])  # powers of two: exact either way
    wide = lambda v: v.view(-1, 1, 1)  # noqa: E731
    seen = lambda z: model(z * wide(std) + wide(mean))  # noqa: E731
    plain = attacks.pgd(model, x, y, eps=0.05, steps=5, stop="never", random_start=False)
    z, eps = (x - wide(mean)) / wide(std), 0.05
    bounds = (-mean / std, (1 - mean) / std)
    z = torch.minimum(torch.maximum(z, wide(bounds[0])), wide(bounds[1]))
    normalised = attacks.pgd(
        seen, z, y, eps=eps, step_size=0.05 / 2, steps=5, bounds=bounds, stop="never", random_start=False
    )
    assert (normalised.x_adv >= wide(bounds[0])).all() and (normalised.x_adv <= wide(bounds[1])).all()
    assert (normalised.norm <= eps).all() and plain.success.any()
    with pytest.raises(ValueError, match=r"the lower bound has shape \[2\]; give a number or 3"):
        attacks.pgd(model, x, y, eps=0.1, bounds=(torch.zeros(2), 1.0))


# --------------------------------------------------------------------------------------- random models and transforms


def test_draws_name_the_transform_whatever_the_batch(problem):
    model, x, y = problem
    settings = {"eps": 0.05, "steps": 4, "transform": jitter, "eot_samples": 3, "stop": "never"}
    whole = attacks.perturb(model, x, y, **settings)
    ids = torch.arange(N)
    parts = [
        attacks.perturb(model, x[i : i + 9], y[i : i + 9], sample_ids=ids[i : i + 9], **settings)
        for i in range(0, N, 9)
    ]
    assert torch.equal(torch.cat([part.x_adv for part in parts]), whole.x_adv)
    assert (whole.forwards == 3 * 6).all() and (whole.backwards == 3 * 4).all()


def test_expectation_over_transformations_holds_where_a_single_view_does_not(problem):
    model, x, y = problem
    settings = {"eps": 0.08, "steps": 20, "stop": "never", "keep": "last", "random_start": False}
    plain = attacks.perturb(model, x, y, **settings).x_adv
    expected = attacks.perturb(model, x, y, transform=jitter, eot_samples=16, **settings).x_adv

    def held_out(x_adv):
        draws = torch.arange(10_000, 10_000 + 50)
        wrong = [model(jitter(x_adv, draws[k].repeat(N))).argmax(1) != y for k in range(50)]
        return torch.stack(wrong).double().mean()

    assert held_out(expected) > held_out(plain)


def test_a_random_model_is_judged_by_most_of_its_answers():
    flip = torch.tensor([1.0, -1.0])
    calls = 0

    def model(x):  # right in two of three answers on x, whatever the point
        nonlocal calls
        calls += 1
        sign = torch.where(torch.arange(len(x)) % 3 == 2, -1.0, 1.0).to(x.dtype)
        return sign[:, None] * flip * (1 + x.sum(1, keepdim=True))

    x, y = torch.rand(4, 2), torch.zeros(4, dtype=torch.int64)
    result = attacks.perturb(model, x, y, eps=0.1, eot_samples=3, steps=2)
    assert result.clean_correct.all() and not result.success.any()
    assert (result.forwards == 3 * 4).all()


# ---------------------------------------------------------------------------------------------------- rewritten models


def test_a_rewritten_model_gives_the_same_function(net):
    model, x, _ = net
    forms = Rewritten(model, x)
    assert [form.name for form in forms.forms] == [
        "as it is",
        "batch norm folded",
        "batch norm folded, channels last",
    ]
    with torch.no_grad():
        for form in forms.forms:
            torch.testing.assert_close(form.model(x), model(x), rtol=1e-4, atol=1e-4)


def test_labels_are_the_original_models_and_nothing_of_it_changes(net):
    model, x, y = net
    state = copy.deepcopy(model.state_dict())
    plain = attacks.pgd(model, x, y, eps=0.03, steps=20, rewrite="off")
    forms = Rewritten(model, x)
    result = attacks.pgd(forms, x, y, eps=0.03, steps=20)
    again = attacks.pgd(forms, x, y, eps=0.03, steps=20)
    assert forms.winner is not None and again.success.any()
    assert 0 < plain.attack_success_rate < 1
    assert (result.success != plain.success).sum() <= 2  # of 150, by rounding
    with torch.no_grad():
        assert torch.equal(model(result.x_adv).argmax(1) != y, result.success)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


class Untraceable(nn.Module):
    """Branches on its data, which a tracer cannot follow; and is random unless it is told not to be."""

    def __init__(self, inner, noise=0.0):
        super().__init__()
        self.inner, self.noise = inner, noise

    def forward(self, x):
        if x.sum() > -1e9:
            x = x + self.noise * torch.randn_like(x)
        return self.inner(x)


def test_what_cannot_be_traced_or_differs_keeps_its_own_form(net):
    model, x, _ = net
    assert [form.name for form in Rewritten(Untraceable(model), x).forms] == ["as it is", "channels last"]
    assert [form.name for form in Rewritten(Untraceable(model, noise=0.1), x).forms] == ["as it is"]
    assert [form.name for form in Rewritten(lambda x: model(x), x).forms] == ["as it is"]


def test_a_model_whose_answers_depend_on_the_batch_is_asked_about_all_at_once(net):
    model, x, _ = net
    batchwise = lambda x: model(x) - model(x).mean(0)  # noqa: E731
    forms = Rewritten(batchwise, x)
    with forms.form(left=150) as (same, size):
        assert same is batchwise and size == 150


def test_a_model_in_training_is_rewritten_as_attacks_see_it_and_stays_as_it_is(net):
    model, x, _ = net
    with torch.no_grad():
        want = model(x)
    state = copy.deepcopy(model.state_dict())
    model.train()
    forms = Rewritten(model, x).forms
    assert model.training and all(torch.equal(v, state[name]) for name, v in model.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(forms[1].model(x), want, rtol=1e-4, atol=1e-4)


def test_forms_are_made_anew_for_a_model_that_has_been_trained_since(net):
    model, x, y = net
    forms = Rewritten(model, x)
    assert forms.current(x).forms is (old := forms.forms)
    with torch.no_grad():
        model[-1].weight.neg_()
        assert forms.current(x).forms is not old
        old = forms.current(x).forms
        model[-1].bias.data.add_(1)  # which torch does not count
        assert forms.current(x).forms is not old
        torch.testing.assert_close(forms.forms[1].model(x), model(x), rtol=1e-4, atol=1e-4)
    assert attacks.pgd(forms, x, y, eps=0.01, steps=2).clean_correct.sum() < 75


def test_what_the_rewritten_form_withstands_but_the_model_does_not_is_a_success(net):
    model, x, y = net

    class Blind(Rewritten):
        """Its form has the model's gradients, and is harder to fool."""

        def __init__(self, model, x):
            super().__init__(model, x)
            sure = lambda z: model(z) + 0.2 * nn.functional.one_hot(y[:1], K)  # noqa: E731
            self.forms = [attacks.rewrite.Form("blind", sure, 32)]

    mine = y == y[0]
    result = attacks.pgd(Blind(model, x), x[mine], y[mine], eps=0.07, steps=10, loss="margin")
    with torch.no_grad():
        assert torch.equal(model(result.x_adv).argmax(1) != y[mine], result.success)
        fooled = (model(result.x_adv) + 0.2 * nn.functional.one_hot(y[:1], K)).argmax(1) != y[mine]
    assert (result.success & ~fooled).any() and (result.first_step[result.success] > 0).all()


def test_where_the_model_disagrees_with_its_rewritten_form_it_is_attacked_itself(net, monkeypatch):
    model, x, y = net

    class Liar(Rewritten):
        """Its form is another model altogether, which the attack fools instead."""

        def __init__(self, model, x):
            super().__init__(model, x)
            other = copy.deepcopy(model)
            with torch.no_grad():
                other[-1].weight.copy_(other[-1].weight.flip(0))
            self.forms = [attacks.rewrite.Form("a lie", other, 32)]

    plain = attacks.pgd(model, x, y, eps=0.03, steps=20, rewrite="off")
    result = attacks.pgd(Liar(model, x), x, y, eps=0.03, steps=20)
    with torch.no_grad():
        assert torch.equal(model(result.x_adv).argmax(1) != y, result.success)
    assert result.success.any() and not (result.success & ~plain.success).sum() > 15


@pytest.mark.parametrize("threshold", [0.0, 1e18])
def test_rewriting_is_tried_where_the_work_is_large(net, monkeypatch, threshold):
    made = []
    begin = Rewritten.__init__
    monkeypatch.setattr(attacks.rewrite, "WORTH_REWRITING", threshold)
    monkeypatch.setattr(Rewritten, "__init__", lambda *a, **k: made.append(1) or begin(*a, **k))
    model, x, y = net
    for attack in (attacks.pgd, attacks.apgd):
        attack(model, x, y, eps=0.02, steps=3)
        attack(model, x, y, eps=0.02, steps=3, rewrite="off")
        attack(model, x, y, eps=0.02, steps=3, stop="never")
    assert len(made) == 2 * (threshold == 0)


@pytest.mark.parametrize("attack", [attacks.pgd, attacks.apgd, attacks.fab, attacks.square, attacks.autoattack])
@pytest.mark.parametrize("autocast", [torch.int32, torch.float64, "bfloat16", False])
def test_types_that_nothing_is_searched_in(net, attack, autocast):
    with pytest.raises(ValueError, match=r"autocast is .*; it must be torch\.bfloat16, torch\.float16, or None"):
        attack(*net, eps=0.05, autocast=autocast)


@pytest.mark.parametrize(
    ("attack", "settings"),
    [
        (attacks.pgd, {"steps": 10}),
        (attacks.apgd, {"steps": 10}),
        (attacks.fab, {"steps": 10}),
        (attacks.deepfool, {"norm": "linf"}),
        (attacks.spsa, {"steps": 5, "samples": 8}),
        (attacks.square, {"queries": 200}),
        (
            attacks.autoattack,
            {"apgd_ce": {"steps": 2}, "apgd_t": {"steps": 2}, "fab_t": {"steps": 2}, "square": {"queries": 5}},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_half_precision_searches_and_full_precision_judges(net, attack, settings):
    model, x, y = net
    seen = set()
    hook = next(m for m in model.modules() if not list(m.children()) and list(m.parameters())).register_forward_hook(
        lambda module, given, out: seen.add(out.dtype)
    )
    result = attack(model, x, y, eps=0.05, autocast=torch.bfloat16, rewrite="off", **settings)
    assert seen == {torch.bfloat16, torch.float32}
    hook.remove()
    with torch.no_grad():
        assert torch.equal(model(result.x_adv).argmax(1) != y, result.success)
    assert result.success.any() and result.x_adv.dtype == torch.float32
    assert ((result.x_adv.double() - x.double()).abs() <= 0.05).all()


# ------------------------------------------------------------------------------------------------------- what is kept


def test_what_is_kept(problem):
    model, x, y = problem
    settings = {"eps": 0.1, "steps": 15, "stop": "never"}
    first, best, last = (attacks.perturb(model, x, y, keep=keep, **settings) for keep in ("first", "best_loss", "last"))
    assert torch.equal(first.success, best.success)
    assert (best.loss >= first.loss - 1e-12).all() and (best.loss > first.loss).any()
    right = first.clean_correct
    assert (best.loss[right & last.success] >= last.loss[right & last.success]).all()
    assert torch.equal(model(last.x_adv).argmax(1), last.label_adv) and torch.equal(last.success, last.label_adv != y)


def test_a_loss_of_ones_own(problem):
    model, x, y = problem
    own = lambda logits, labels: nn.functional.cross_entropy(logits, labels, reduction="none")  # noqa: E731
    same(attacks.perturb(model, x, y, eps=0.1, loss=own), attacks.perturb(model, x, y, eps=0.1))
    with pytest.raises(ValueError, match=r"the loss returned \[\] for 40 samples"):
        attacks.perturb(model, x, y, eps=0.1, loss=lambda logits, labels: logits.sum())


def test_gradients_that_are_no_numbers_are_counted_and_do_no_harm():
    def model(x):
        return torch.stack([x[:, 0].sqrt() + x[:, 1], 1.5 - x[:, 1]], 1)  # the root has no slope at 0

    x = torch.tensor([[0.0, 0.5], [0.25, 0.5]])
    result = attacks.fgsm(model, x, torch.ones(2, dtype=torch.int64), eps=0.1)
    assert result.nonfinite == 1 and result.x_adv.isfinite().all()
    assert result.x_adv.tolist()[0][0] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": "best"}, "'first', 'best_loss' or 'last'"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, "mask must be 40 booleans"),
        ({"eps": torch.zeros(3)}, r"eps has shape \[3\]; it must be a number, or 40"),
        ({"eps": torch.full((N,), -1.0)}, "eps goes from -1 to -1"),
        ({"eps": "0.1"}, "eps is '0.1'; it must be a finite number"),
        ({"eot_samples": 0}, "eot_samples is 0"),
        ({"steps": 3.0}, "steps is 3.0; it must be a whole number, 1 or more"),
        ({"rewrite": "fast"}, "rewrite is 'fast'; it must be 'auto', 'compile' or 'off'"),
        ({"sparsity": 0.0}, "sparsity is 0.0; it is a share"),
        ({"target": 0.5}, "target must be 40 int64 numbers, one a sample; got torch.float32"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, r"target must be 40 int64 numbers, one a sample; got .* \[3\]"),
        ({"step_size": torch.ones(3)}, r"step_size has shape \[3\]; it must be a number, or 40"),
        ({"bounds": (0.0,)}, r"bounds are \(0.0,\); give the least and the greatest"),
        ({"model": lambda x: x[:, :1]}, "logits of one class"),
        ({"step_size": float("inf")}, "step_size is inf; it must be a finite number"),
        ({"momentum": 1.0, "norm": "l2"}, "goes with 'linf'"),
        ({"bounds": (0.0, float("nan"))}, "lower must be smaller"),
    ],
)
def test_errors_name_what_was_given(problem, change, message):
    model, x, y = problem
    settings = {"model": model, "eps": 0.1} | change
    with pytest.raises(ValueError, match=message):
        attacks.perturb(x=x, y=y, **settings)


def test_arrays_are_no_tensors(problem):
    model, x, y = problem
    for attack in (attacks.perturb, attacks.apgd, attacks.fab, attacks.autoattack, attacks.noise):
        with pytest.raises(TypeError, match=r"x is a ndarray; give a tensor, as torch\.as_tensor makes one"):
            attack(model, x.numpy(), y, eps=0.1)


@pytest.mark.parametrize(
    ("attack", "settings"),
    [
        (attacks.pgd, {"steps": 8, "restarts": 2}),
        (attacks.fgsm, {}),
        (attacks.apgd, {"steps": 10, "restarts": 2}),
        (attacks.apgd, {"steps": 6, "loss": "dlr_targeted"}),
        (attacks.fab, {"steps": 6, "restarts": 2}),
        (attacks.fab, {"steps": 6, "restarts": 2, "targeted": False}),
        (attacks.deepfool, {"norm": "linf"}),
        (attacks.spsa, {"steps": 5, "samples": 8}),
        (attacks.square, {"queries": 60}),
        (attacks.autoattack, {"version": "custom", "attacks": ["apgd-t", "fab-t"], "apgd_t": {"steps": 5}}),
    ],
)
def test_a_normalised_model_is_attacked_as_the_one_within_with_a_radius_for_each_channel(attack, settings, net):
    model, x, y = net
    model, x = copy.deepcopy(model).double(), x.double()
    mean, std = torch.tensor([0.5, 0.25, 0.75]), torch.tensor([0.25, 0.5, 0.125])  # powers of two: no rounding
    wide = lambda v: v.view(1, -1, 1, 1)  # noqa: E731
    inner = lambda z: model(z * wide(std) + wide(mean))  # noqa: E731
    eps = 0.0625
    plain = attack(model, x, y, eps=eps, rewrite="off", **settings)
    z = (x - wide(mean)) / wide(std)
    normalised = attack(
        inner, z, y, eps=wide(eps / std), bounds=(-mean / std, (1 - mean) / std), rewrite="off", **settings
    )
    assert plain.attack_success_rate > 0
    assert torch.equal(normalised.success, plain.success)
    torch.testing.assert_close(normalised.x_adv * wide(std) + wide(mean), plain.x_adv, rtol=0, atol=1e-9)
    assert ((normalised.x_adv - z).abs() <= wide(eps / std)).all()


def test_a_radius_by_channel_is_refused_where_the_norm_adds_channels_up(net):
    model, x, y = net
    eps = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    for attack in (attacks.apgd, attacks.fab, attacks.square):
        with pytest.raises(
            ValueError, match=r"eps has shape \[150, 3, 1, 1\], but norm 'l2' measures all channels alike"
        ):
            attack(model, x, y, eps=eps, norm="l2")
    with pytest.raises(ValueError, match=r"eps has shape \[3\]; it must be a number, or 150 of them"):
        attacks.autoattack(model, x, y, eps=torch.zeros(3))


@pytest.mark.parametrize("attack", [attacks.square, attacks.noise])
def test_a_model_that_writes_to_its_input_moves_no_point(attack):
    def model(x):
        x -= 0.5
        return torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], 1)

    x, settings = torch.rand(4, 1, 3, 3), {"queries": 9} if attack is attacks.square else {"restarts": 5}
    result = attack(model, x, torch.zeros(4, dtype=torch.int64), eps=1e-3, **settings)
    assert ((result.x_adv - x).abs() <= 1e-3).all()


def test_logits_that_are_no_numbers_are_no_success(problem):
    model, x, _ = problem
    right = model(x).argmax(1)
    broken = lambda z: torch.where((z == x[: len(z)]).all(1, keepdim=True), model(z), torch.nan)  # noqa: E731
    assert not attacks.pgd(broken, x, right, eps=1e-4, steps=2, compact=False).success.any()
