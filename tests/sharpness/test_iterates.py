"""Whole paths against the methods written out on one flat vector, with optimizers written by hand."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

import gantrain as gt
from gantrain.utils.seeding import generator

STEPS = 12
SGD = {"name": "sgd", "lr": 0.3}
HEAVY = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True}
MOMENTUM = {"name": "sgd", "lr": 0.1, "momentum": 0.8, "weight_decay": 0.1}
ADAM = {"name": "adam", "lr": 0.03, "betas": [0.5, 0.9]}
ADAMW = {"name": "adamw", "lr": 0.03, "betas": [0.9, 0.99], "weight_decay": 0.2}
OPTIMIZERS = [SGD, HEAVY, MOMENTUM, ADAM, ADAMW]


def step(spec, x, g, state):
    """``(x, state)`` after one step of the optimizer along ``g``."""
    lr, decay = spec["lr"], spec.get("weight_decay", 0.0)
    if spec["name"] == "sgd":
        momentum = spec.get("momentum", 0.0)
        g = g + decay * x
        velocity = g if state is None else momentum * state + g
        g = g + momentum * velocity if spec.get("nesterov") else velocity
        return x - lr * g, velocity if momentum else None
    b1, b2 = spec["betas"]
    t, m, v = (0, torch.zeros_like(x), torch.zeros_like(x)) if state is None else state
    t, m, v = t + 1, b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    x = x * (1 - lr * decay)
    return x - lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + 1e-8), (t, m, v)


def q(logits, targets, phi, mu, alpha):
    """BiSAM's Q, sample by sample and class by class, averaged."""
    total = 0.0
    for row, target in zip(logits, targets.tolist(), strict=True):
        terms = []
        for logit in row:
            margin = logit - row[target]
            if phi == "tanh":
                value = torch.tanh(alpha * margin)
            else:
                value = 1 - torch.log(1 + torch.exp(math.log(math.e - 1) - margin))
            terms.append(torch.exp(mu * value))
        total = total + torch.log(sum(terms)) / mu
    return total / len(logits)


class Linear:
    """A multinomial regression with a bend in it; the strategy is a tensor ``(3, 4)``."""

    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def logits(self, x, inputs):
        return 2 * torch.tanh(inputs @ x.view(3, 4).T)

    def played(self):
        def f(x, batch):
            logits = self.logits(x, batch[0])
            return gt.Objective(nn.functional.cross_entropy(logits, batch[1]), logits, batch[1])

        return gt.games.Minimize(f, x=self.start)


class Network(Linear):
    """A two-layer network as a module."""

    def __init__(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        self.start = nn.utils.parameters_to_vector(self.module.parameters()).detach()

    def logits(self, x, inputs):
        if isinstance(x, nn.Module):
            return x(inputs)
        named = dict(self.module.named_parameters())
        parts = x.split([p.numel() for p in named.values()])
        return functional_call(self.module, {n: v.view(p.shape) for (n, p), v in zip(named.items(), parts)}, inputs)  # noqa: B905

    def played(self):
        game = super().played()
        return gt.games.Minimize(game.f, x=self.module)


class Normed(Network):
    """A network with layer norm, whose parameters ``normed`` marks in the flat vector."""

    def __init__(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.module = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)).double()
        self.start = nn.utils.parameters_to_vector(self.module.parameters()).detach()
        marks = [torch.full_like(p, name.startswith("1.")) for name, p in self.module.named_parameters()]
        self.normed = nn.utils.parameters_to_vector(marks)


def batches(count=5):
    source = torch.Generator().manual_seed(3)
    return [
        (torch.randn(6, 4, generator=source, dtype=torch.float64), torch.randint(3, (6,), generator=source))
        for _ in range(count)
    ]


class Reference:
    """The problem and its derivatives on a flat vector; draw ``t`` takes batch ``t`` modulo their number."""

    def __init__(self, problem, climb="loss", mu=10.0, alpha=0.1):
        self.problem, self.data = problem, batches()
        self.climb, self.mu, self.alpha = climb, mu, alpha

    def slope(self, x, t, climbed=False):
        x = x.detach().requires_grad_()
        inputs, targets = self.data[t % len(self.data)]
        logits = self.problem.logits(x, inputs)
        if climbed and self.climb != "loss":
            value = q(logits, targets, self.climb, self.mu, self.alpha)
        else:
            value = nn.functional.cross_entropy(logits, targets)
        return torch.autograd.grad(value, x)[0]

    def up(self, x, g, rho, geometry):
        if geometry == "elementwise":
            return x + rho * x**2 * g / (x.abs() * g).norm()
        return x + rho * g / g.norm()

    def sam(self, optimizer, rho, geometry="l2"):
        x, state = self.problem.start.reshape(-1), None
        path = [x]
        for t in range(STEPS):
            ascended = self.up(x, self.slope(x, t, climbed=True), rho, geometry)
            x, state = step(optimizer, x, self.slope(ascended, t), state)
            path.append(x)
        return torch.stack(path)

    def sampa(self, optimizer, rho, mix, geometry="l2"):
        x, state = self.problem.start.reshape(-1), None
        path = [x]
        slope, climb = self.slope(x, 0), self.slope(x, 0, climbed=True)  # at y_0 = x_0
        for t in range(STEPS):
            perturbed = self.slope(self.up(x, climb, rho, geometry), t)
            y, _ = step(optimizer, x, slope, state)
            slope, climb = self.slope(y, t + 1), self.slope(y, t + 1, climbed=True)
            x, state = step(optimizer, x, (1 - mix) * perturbed + mix * slope, state)
            path.append(x)
        return torch.stack(path)

    def sampa_smoothed(self, optimizer, rho, mix, theta, mask=1.0):
        x, state = self.problem.start.reshape(-1), None
        path = [x]
        slope = self.slope(x, 0)
        d = self.slope(x, 0, climbed=True)
        for t in range(STEPS):
            perturbed = self.slope(self.up(x, d * mask, rho, "l2"), t)
            y, _ = step(optimizer, x, slope, state)
            slope = self.slope(y, t + 1)
            d = (1 - theta) * d + theta * self.slope(y, t + 1, climbed=True)
            x, state = step(optimizer, x, (1 - mix) * perturbed + mix * slope, state)
            path.append(x)
        return torch.stack(path)

    def along(self, optimizer, rho, direction, geometry="l2"):
        """SAM along ``direction(g, x, t, state)``, where g is the gradient of the climbed function; None stays put."""
        x, state = self.problem.start.reshape(-1), None
        path = [x]
        for t in range(STEPS):
            d = direction(self.slope(x, t, climbed=True), x, t, state)
            x, state = step(optimizer, x, self.slope(x if d is None else self.up(x, d, rho, geometry), t), state)
            path.append(x)
        return torch.stack(path)


def solved(problem, optimizer, sharpness, **settings):
    path = gt.solve(
        problem.played(),
        optimizer=optimizer,
        sharpness=sharpness,
        batches=batches(),
        **{"steps": STEPS, **settings},
    )
    return path["x"].reshape(len(path["x"]), -1)


def agree(path, expected):
    assert (path[-1] - path[0]).abs().max() > 1e-2
    torch.testing.assert_close(path, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o['name']}{o['lr']}")
@pytest.mark.parametrize("geometry", ["l2", "elementwise"])
def test_sam_and_asam(optimizer, geometry):
    sharpness = {"name": "sam", "rho": 0.2, "geometry": geometry}
    agree(solved(Linear(), optimizer, sharpness), Reference(Linear()).sam(optimizer, 0.2, geometry))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o['name']}{o['lr']}")
@pytest.mark.parametrize("mix", [0.0, 0.2, 1.0])
def test_sampa(optimizer, mix):
    sharpness = {"name": "sampa", "rho": 0.2, "mix": mix}
    agree(solved(Linear(), optimizer, sharpness), Reference(Linear()).sampa(optimizer, 0.2, mix))


def test_sampa_elementwise():
    sharpness = {"name": "sampa", "rho": 0.2, "mix": 0.2, "geometry": "elementwise"}
    agree(solved(Linear(), HEAVY, sharpness), Reference(Linear()).sampa(HEAVY, 0.2, 0.2, "elementwise"))


@pytest.mark.parametrize("climb", ["tanh", "log"])
@pytest.mark.parametrize("name", ["sam", "sampa"])
def test_bisam(name, climb):
    sharpness = {"name": name, "rho": 0.2, "climb": climb, "mu": 3.0, "alpha": 0.5}
    reference = Reference(Linear(), climb, 3.0, 0.5)
    expected = reference.sam(MOMENTUM, 0.2) if name == "sam" else reference.sampa(MOMENTUM, 0.2, 0.2)
    agree(solved(Linear(), MOMENTUM, sharpness), expected)


def test_the_radius_is_over_all_parameters_of_a_module_together():
    problem = Network()
    agree(solved(problem, ADAM, {"name": "sam", "rho": 0.3}), Reference(problem).sam(ADAM, 0.3))
    agree(solved(problem, HEAVY, {"name": "sampa", "rho": 0.3, "mix": 0.2}), Reference(problem).sampa(HEAVY, 0.3, 0.2))


def test_optsam_climbs_the_perturbed_gradient_before():
    reference = Reference(Linear())
    x, before = reference.problem.start.reshape(-1), None
    path = [x]
    for t in range(STEPS):
        before = reference.slope(x if before is None else reference.up(x, before, 0.2, "l2"), t)
        x, _ = step(SGD, x, before, None)
        path.append(x)
    agree(solved(Linear(), SGD, {"name": "sam", "rho": 0.2, "direction": "previous"}), torch.stack(path))


def test_randsam_climbs_a_random_direction():
    reference = Reference(Linear())
    x = reference.problem.start.reshape(-1)
    path = [x]
    for t in range(STEPS):
        direction = torch.randn(3, 4, generator=generator(0, "direction/x", t), dtype=torch.float64).reshape(-1)
        x, _ = step(SGD, x, reference.slope(reference.up(x, direction, 0.2, "l2"), t), None)
        path.append(x)
    agree(solved(Linear(), SGD, {"name": "sam", "rho": 0.2, "direction": "random"}), torch.stack(path))


@pytest.mark.parametrize("geometry", ["l2", "elementwise"])
def test_vasso_climbs_a_smoothed_gradient(geometry):
    d = None

    def smoothed(g, x, t, state):
        nonlocal d
        d = g if d is None else 0.6 * d + 0.4 * g
        return d

    sharpness = {"name": "sam", "rho": 0.2, "direction": "smoothed", "theta": 0.4, "geometry": geometry}
    agree(solved(Linear(), HEAVY, sharpness), Reference(Linear()).along(HEAVY, 0.2, smoothed, geometry))


@pytest.mark.parametrize("sigma", [1.0, 0.5])
def test_fsam_climbs_what_sticks_out_of_the_mean_gradient(sigma):
    m = torch.zeros(12, dtype=torch.float64)

    def friendly(g, x, t, state):
        nonlocal m
        m = 0.8 * m + (1 - 0.8) * g
        return g - sigma * m

    sharpness = {"name": "sam", "rho": 0.2, "direction": "friendly", "sigma": sigma, "decay": 0.8, "climb": "log"}
    agree(solved(Linear(), ADAM, sharpness), Reference(Linear(), "log").along(ADAM, 0.2, friendly))


@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAM], ids=lambda o: o["name"])
def test_msam_goes_along_the_momentum(optimizer):
    def momentum(g, x, t, state):
        if state is None:
            return None
        return -state if optimizer is MOMENTUM else -state[1]

    sharpness = {"name": "sam", "rho": 0.2, "direction": "momentum"}
    agree(solved(Linear(), optimizer, sharpness), Reference(Linear()).along(optimizer, 0.2, momentum))


def test_sam_db_climbs_the_next_batch():
    reference = Reference(Linear())

    def other(g, x, t, state):
        return reference.slope(x, t + 1)

    agree(solved(Linear(), HEAVY, {"name": "sam", "rho": 0.2, "other_batch": True}), reference.along(HEAVY, 0.2, other))


def test_sam_on_perturbs_norms_only():
    problem = Normed()
    reference = Reference(problem)
    expected = reference.along(MOMENTUM, 0.3, lambda g, x, t, state: g * problem.normed)
    agree(solved(problem, MOMENTUM, {"name": "sam", "rho": 0.3, "only": "norm"}), expected)
    sharpness = {"name": "sampa", "rho": 0.3, "mix": 0.2, "only": "norm", "direction": "smoothed", "theta": 0.4}
    agree(solved(problem, HEAVY, sharpness), reference.sampa_smoothed(HEAVY, 0.3, 0.2, 0.4, problem.normed))


@pytest.mark.parametrize("climb", ["loss", "tanh"])
def test_sampa_climbs_a_smoothed_gradient(climb):
    sharpness = {"name": "sampa", "rho": 0.2, "mix": 0.2, "direction": "smoothed", "theta": 0.4, "climb": climb}
    agree(solved(Linear(), ADAMW, sharpness), Reference(Linear(), climb).sampa_smoothed(ADAMW, 0.2, 0.2, 0.4))


@pytest.mark.parametrize("climb", ["loss", "tanh"])
@pytest.mark.parametrize("other", [False, True])
def test_looksam_reuses_what_is_orthogonal_to_the_gradient(climb, other):
    reference = Reference(Linear(), climb)
    x, state = reference.problem.start.reshape(-1), None
    path, unit = [x], None
    for t in range(STEPS):
        g = reference.slope(x, t)
        if t % 3 == 0:
            given = reference.slope(reference.up(x, reference.slope(x, t + other, climbed=True), 0.2, "l2"), t)
            cosine = given @ g / given.norm() / g.norm()
            v = given - given.norm() * cosine * g / g.norm()
            unit = v / v.norm()
        else:
            given = g + 0.7 * g.norm() * unit
        x, state = step(MOMENTUM, x, given, state)
        path.append(x)
    sharpness = {"name": "sam", "rho": 0.2, "every": 3, "climb": climb, "other_batch": other}
    agree(solved(Linear(), MOMENTUM, sharpness), torch.stack(path))


def test_a_gradient_of_one_number_has_nothing_orthogonal_to_it():
    game = gt.games.Minimize(lambda x, b: ((x - b) ** 4).sum(), x=torch.ones(1).double())
    data = [torch.full((1,), 0.1 * i, dtype=torch.float64) for i in range(3)]
    settings = {"optimizer": {"name": "sgd", "lr": 0.01}, "batches": data, "steps": 4}
    path = gt.solve(game, sharpness={"name": "sam", "rho": 0.1, "every": 9}, **settings)
    # After its first step it is plain.
    start = gt.games.Minimize(game.f, x=path["x"][1])
    plain = gt.solve(start, **(settings | {"batches": lambda draw, step: data[(draw + 1) % 3], "steps": 3}))
    assert torch.equal(path["x"][1:], plain["x"])


def test_limits_of_the_directions_are_sam():
    sam = solved(Linear(), HEAVY, {"name": "sam", "rho": 0.2})
    for name, settings in (("smoothed", {"theta": 1.0}), ("friendly", {"sigma": 0.0})):
        assert torch.equal(solved(Linear(), HEAVY, {"name": "sam", "rho": 0.2, "direction": name, **settings}), sam)
    assert torch.equal(solved(Linear(), HEAVY, {"name": "sam", "rho": 0.2, "every": 1, "reuse": 0.3}), sam)
    sampa = solved(Linear(), HEAVY, {"name": "sampa", "rho": 0.2})
    assert torch.equal(
        solved(Linear(), HEAVY, {"name": "sampa", "direction": "smoothed", "theta": 1, "rho": 0.2}), sampa
    )


def test_sampa_predicts_from_the_anchor_of_an_extragradient_step():
    reference, mix, rho = Reference(Linear()), 0.2, 0.2
    z, state = reference.problem.start.reshape(-1), None
    path, draw = [z], 0
    slope = reference.slope(z, 0)
    for _ in range(STEPS):
        w = z
        for _ in range(2):
            perturbed = reference.slope(reference.up(w, slope, rho, "l2"), draw)
            y, _ = step(MOMENTUM, z, slope, state)
            slope = reference.slope(y, draw + 1)
            w, state = step(MOMENTUM, z, (1 - mix) * perturbed + mix * slope, state)
            draw += 1
        z = w
        path.append(z)
    sharpness = {"name": "sampa", "rho": rho, "mix": mix}
    agree(solved(Linear(), MOMENTUM, sharpness, outer="extragradient"), torch.stack(path))


def walked(reference, optimizer, gradient):
    """The path along ``gradient(x, t)``."""
    x, state = reference.problem.start.reshape(-1), None
    path = [x]
    for t in range(STEPS):
        x, state = step(optimizer, x, gradient(x, t), state)
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize("geometry", ["l2", "elementwise"])
def test_gsam_leaves_out_a_part_of_what_is_orthogonal_to_the_perturbed_gradient(geometry):
    reference, alpha = Reference(Linear()), 0.4

    def gradient(x, t):
        plain = reference.slope(x, t)
        perturbed = reference.slope(reference.up(x, plain, 0.3, geometry), t)
        unit = perturbed / perturbed.norm()
        orthogonal = plain - (plain @ unit) * unit
        assert orthogonal.norm() > 1e-3 and abs(orthogonal @ perturbed) < 1e-12
        return perturbed - alpha * orthogonal

    sharpness = {"name": "gsam", "rho": 0.3, "alpha": alpha, "geometry": geometry}
    agree(solved(Linear(), MOMENTUM, sharpness), walked(reference, MOMENTUM, gradient))


@pytest.mark.parametrize("oracle", [{"name": "gsam"}, {"name": "sam", "every": 2}])
def test_complex_parameters_move_as_their_real_and_imaginary_parts(oracle):
    source = torch.Generator().manual_seed(0)
    point = torch.randn(3, 2, generator=source, dtype=torch.float64)

    def f(x):
        return (x.square() * torch.arange(1.0, 7).view(3, 2)).sum() + (x[0, 0] * x[1, 1]).sin()

    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.z = nn.Parameter(torch.view_as_complex(point.clone()))

    path = gt.solve(gt.games.Minimize(f, x=point), sharpness=oracle | {"rho": 0.3}, steps=4)
    other = gt.solve(
        gt.games.Minimize(lambda m: f(torch.view_as_real(m.z)), x=Complex()), sharpness=oracle | {"rho": 0.3}, steps=4
    )
    torch.testing.assert_close(torch.view_as_real(other["x"]), path["x"], rtol=0, atol=1e-12)


def test_gsam_without_its_weight_is_sam():
    sharpness = {"name": "gsam", "rho": 0.3, "alpha": 0.0}
    agree(solved(Linear(), ADAM, sharpness), Reference(Linear()).sam(ADAM, 0.3))


def test_the_penalty_on_the_gradient_norm():
    reference, rho, alpha = Reference(Linear()), 0.3, 0.7

    def gradient(x, t):
        plain = reference.slope(x, t)
        return (1 - alpha) * plain + alpha * reference.slope(reference.up(x, plain, rho, "l2"), t)

    sharpness = {"name": "gradient_norm", "rho": rho, "alpha": alpha}
    agree(solved(Linear(), ADAMW, sharpness), walked(reference, ADAMW, gradient))


def test_the_penalty_is_the_gradient_of_the_norm_for_a_small_step():
    start = torch.tensor([0.7, -0.4], dtype=torch.float64)

    def f(x):
        return x[0] ** 4 + torch.sin(x[1]) * x[0]

    x = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(f(x), x, create_graph=True)
    (of_norm,) = torch.autograd.grad(slope.norm(), x)
    rho, weight = 1e-6, 0.3  # the weight of the norm is alpha rho
    sharpness = {"name": "gradient_norm", "rho": rho, "alpha": weight / rho}
    path = gt.solve(gt.games.Minimize(f, x=start), sharpness=sharpness, optimizer={"name": "sgd", "lr": 1.0}, steps=1)
    torch.testing.assert_close(path["x"][1], start - slope.detach() - weight * of_norm, rtol=0, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.3, -0.5])
def test_ae_sam_climbs_gradients_that_are_long_for_their_running_mean_and_variance(threshold):
    reference, rho, decay = Reference(Linear()), 0.3, 0.8
    mean, variance, climbs = 0.0, 0.0, []

    def gradient(x, t):
        nonlocal mean, variance
        plain = reference.slope(x, t)
        square = (plain @ plain).item()
        mean = decay * mean + (1 - decay) * square
        variance = decay * variance + (1 - decay) * (square - mean) ** 2
        climbs.append(square >= mean + threshold * variance**0.5)
        return reference.slope(reference.up(x, plain, rho, "l2"), t) if climbs[-1] else plain

    sharpness = {"name": "ae_sam", "rho": rho, "threshold": threshold, "decay": decay}
    expected = walked(reference, SGD, gradient)
    agree(solved(Linear(), SGD, sharpness), expected)
    assert 0 < sum(climbs) < STEPS
    path = gt.solve(Linear().played(), optimizer=SGD, sharpness=sharpness, batches=batches(), steps=STEPS)
    assert path.evaluations == {"x": STEPS + sum(climbs)}


def esam(problem, optimizer, rho, beta, gamma, sizes, climb="loss"):
    """ESAM's path, row by row and tensor by tensor."""
    reference = Reference(problem, climb, 3.0, 0.5)

    def rows(x, t):
        inputs, targets = reference.data[t % len(reference.data)]
        return [-problem.logits(x, i[None]).log_softmax(1)[0, y] for i, y in zip(inputs, targets, strict=True)]

    def gradient(x, t):
        climbed = reference.slope(x, t, climbed=True)
        drawn = torch.rand(len(sizes), generator=generator(0, "choice/x", t), dtype=torch.float64) < beta
        mask = drawn.double().repeat_interleave(torch.tensor(sizes))
        ascended = (x + mask * (rho / beta) * climbed / climbed.norm()).detach().requires_grad_()
        before, after = rows(x, t), rows(ascended, t)
        order = sorted(range(len(before)), key=lambda i: (before[i] - after[i]).item())
        chosen = order[: round(gamma * len(order))]
        return torch.autograd.grad(sum(after[i] for i in chosen) / len(chosen), ascended)[0]

    return walked(reference, optimizer, gradient)


@pytest.mark.parametrize("climb", ["loss", "tanh"])
def test_esam_perturbs_some_tensors_and_descends_on_the_rows_whose_losses_rise_the_most(climb):
    problem = Network()
    sizes = [p.numel() for p in problem.module.parameters()]
    sharpness = {"name": "esam", "rho": 0.2, "beta": 0.6, "gamma": 0.5, "climb": climb, "mu": 3.0, "alpha": 0.5}
    agree(solved(problem, MOMENTUM, sharpness), esam(problem, MOMENTUM, 0.2, 0.6, 0.5, sizes, climb))


@pytest.mark.parametrize("geometry", ["l2", "elementwise"])
def test_esam_with_all_tensors_and_rows_is_sam(geometry):
    sharpness = {"name": "esam", "rho": 0.2, "beta": 1.0, "gamma": 1.0, "geometry": geometry}
    agree(solved(Linear(), HEAVY, sharpness), Reference(Linear()).sam(HEAVY, 0.2, geometry))


def test_the_mean_of_esams_perturbations_is_sams():
    """A linear function of the point where the gradient is taken shows the perturbation."""
    start = {name: torch.tensor(values).double() for name, values in (("a", [1.0, 2.0]), ("b", [-2.0]), ("c", [3.0]))}
    module = nn.ParameterDict(start)
    game = gt.games.Minimize(lambda m: sum(p.square().sum() for p in m.values()) / 2, x=module)
    moves = gt.solve(
        game,
        optimizer={"name": "sgd", "lr": 1e-9},
        sharpness={"name": "esam", "rho": 0.1, "beta": 0.25, "gamma": 1.0},
        steps=600,
    )["x"].diff(dim=0)
    flat = torch.cat(list(start.values()))
    perturbations = -moves / 1e-9 - flat
    torch.testing.assert_close(perturbations.mean(0), 0.1 * flat / flat.norm(), rtol=0.2, atol=0)
