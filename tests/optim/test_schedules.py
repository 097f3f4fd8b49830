"""Schedules that do not hold to the end of a run are refused before it begins, and trying them leaves no trace."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import RING, config_of, same, state
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, OneCycleLR, SequentialLR

from gantrain.commands.train import make_trainer, train
from gantrain.errors import UserError
from gantrain.optim import make_scheduler
from gantrain.optim.schedules import require_schedule
from gantrain.outer.cost import Pace, cost_of_a_step

KEY = "game.generator.scheduler"
SEARCH = "{name: ceg_plus, curvature: true}"


@pytest.mark.parametrize(
    ("scheduler", "steps", "message"),
    [
        (
            "{name: onecyclelr, max_lr: 0.1, total_steps: 19}",
            20,
            rf"^{KEY}: OneCycleLR fails at step 20 of the run's 20 ",
        ),
        ("{name: steplr, step_size: 0}", 20, rf"^{KEY}: StepLR fails at step 1 of .*ZeroDivisionError"),
        ("{name: cosineannealinglr, T_max: 0}", 20, rf"^{KEY}: CosineAnnealingLR fails at step 1 "),
        ("{name: cosineannealingwarmrestarts, T_0: 0}", 20, rf"^{KEY}: "),
        ("{name: cycliclr, base_lr: 0.1, max_lr: 0.2, step_size_up: 0}", 20, rf"^{KEY}: "),
        ("{name: exponentiallr, gamma: 3.0e+38}", 20, rf"^{KEY}: ExponentialLR gives the learning rate inf at step 9"),
        (
            "{name: sequentiallr, milestones: [5], schedulers: [{name: constantlr}, {name: steplr, step_size: 0}]}",
            20,
            rf"^{KEY}: SequentialLR fails at step 5 ",
        ),
        (
            "{name: onecyclelr, max_lr: 0.1, total_steps: 60000}",
            60001,
            rf"^{KEY}: ends after 60000 steps \(total_steps\), and the run takes 60001",
        ),
    ],
)
def test_a_schedule_that_fails_is_refused_before_the_folder_is_written(tmp_path, scheduler, steps, message):
    with pytest.raises(UserError, match=message) as caught:
        train(config_of(RING, tmp_path, f"run.steps={steps}", f"{KEY}={scheduler}"))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_run_resumed_past_its_schedule_is_refused_and_left_alone(tmp_path):
    schedule = f"{KEY}={{name: onecyclelr, max_lr: 0.01, total_steps: 20}}"
    folder = train(config_of(RING, tmp_path, schedule))
    before, text = state(folder), (folder / "config.yaml").read_text()
    with pytest.raises(UserError, match="fails at step 21 of the run's 40 "):
        train(config_of(RING, tmp_path, schedule, "run.steps=40"), resume=True)
    assert same(state(folder), before) and (folder / "config.yaml").read_text() == text


@pytest.mark.parametrize(
    ("outer", "sharpness", "gradients", "draws"),
    [
        ("gda", "{name: sam, rho: 0.1}", 2, 1),
        ("{name: gda, critic_steps: 3}", "null", 3, 3),
        pytest.param("{name: extragradient, critic_steps: 3}", "null", 6, 6, marks=pytest.mark.slow),
        ("extragradient", "{name: sampa, rho: 0.1, climb: tanh}", 4, 2),
        ("{name: lookahead, inner_steps: 4, base: {name: rapp, inner_steps: 3}}", "null", 3, 3),
        pytest.param("optimistic", "{name: sam, direction: previous}", 1, 1, marks=pytest.mark.slow),
        pytest.param("{name: ceg_plus}", "null", 2, 2, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("budget", ["gradients", "kimg"])
def test_budgets_of_other_units_are_counted_in_steps(tmp_path, outer, sharpness, gradients, draws, budget):
    limit = 9 * gradients if budget == "gradients" else 9 * draws * 32 / 1000
    plain = [f"outer={outer}", f"game.discriminator.sharpness={sharpness}", "run.steps=null", f"run.{budget}={limit}"]
    with pytest.raises(UserError, match="fails at step 9 of the run's 9 "):
        train(config_of(RING, tmp_path, *plain, f"{KEY}={{name: onecyclelr, max_lr: 0.1, total_steps: 8}}"))
    folder = train(config_of(RING, tmp_path, *plain, f"{KEY}={{name: onecyclelr, max_lr: 0.1, total_steps: 9}}"))
    assert state(folder)["clock"]["step"] == 9


def test_the_cost_of_a_line_search_and_of_ae_sam_is_not_known_before(ring):
    plain = [f"game.{name}.optimizer={{name: sgd, lr: 0.1}}" for name in ("generator", "discriminator")]
    for method in (f"outer={SEARCH}", "game.discriminator.sharpness=ae_sam"):
        trainer = make_trainer(ring(method, *plain), torch.device("cpu"))
        assert cost_of_a_step(trainer.outer, trainer.learners) is None
    trainer = make_trainer(ring("game.discriminator.sharpness=esam"), torch.device("cpu"))
    assert cost_of_a_step(trainer.outer, trainer.learners).gradients == Pace(2, (2,))


def test_the_cost_of_looksam_comes_in_turns(ring):
    def cost(generator, discriminator):
        sharp = {"generator": generator, "discriminator": discriminator}
        config = ring(*(f"game.{player}.sharpness={{name: {keys}}}" for player, keys in sharp.items()))
        trainer = make_trainer(config, torch.device("cpu"))
        return cost_of_a_step(trainer.outer, trainer.learners)

    assert cost("sam, every: 3", "sam, every: 3").gradients == Pace(2, (1, 1, 2))
    # The generator leads at first, 3 to 2, and the discriminator in the long run, 6 to 5 in three steps.
    changing = cost("sam, every: 3, other_batch: true, direction: friendly", "sam").gradients
    assert [changing.used(steps) for steps in range(7)] == [0, 3, 4, 6, 8, 10, 12] and changing.mean == 2
    assert [changing.of(step) for step in range(6)] == [3, 1, 2, 2, 2, 2]
    assert [changing.steps_within(budget) for budget in (1, 3, 4, 5, 6, 12)] == [1, 1, 2, 3, 3, 6]
    assert cost("sam, every: 1001", "sam") is None


@pytest.mark.parametrize("pace", [Pace(2, (1, 1, 2)), Pace(3, (2,)), Pace(1.5, (0.25, 1.0)), Pace(9, (1,))], ids=str)
def test_steps_within_a_budget_are_those_that_use_it_up(pace):
    used = [float(pace.used(steps)) for steps in range(80)]
    assert used == [sum(map(pace.of, range(steps))) for steps in range(80)]
    for budget in (0.5, 1, 2, 2.5, 3, 7, 10.2, 11, 12.75, 18):
        assert pace.steps_within(budget) == next(n for n in range(1, 80) if used[n] >= budget), budget


def test_trying_a_schedule_changes_nothing():
    makers = [
        lambda o: OneCycleLR(o, 0.1, total_steps=30),
        lambda o: SequentialLR(o, [LinearLR(o), CosineAnnealingLR(o, 10)], [5]),
        lambda o: LambdaLR(o, lambda step: 0.9**step),
    ]
    for make in makers:
        rates = []
        for tried in (False, True):
            optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=0.1)
            scheduler = make(optimizer)
            before = copy.deepcopy((scheduler.state_dict(), optimizer.state_dict()))
            if tried:
                require_schedule(scheduler, 30, KEY)
                assert same(before, (scheduler.state_dict(), optimizer.state_dict()))
            rates.append([])
            for _ in range(20):
                optimizer.step()
                scheduler.step()
                rates[-1].append(copy.deepcopy(optimizer.state_dict()["param_groups"]))
        assert rates[0] == rates[1]


def test_long_schedules_are_as_long_as_their_parts():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    cycle = {"name": "onecyclelr", "max_lr": 0.1, "total_steps": 60_000}
    spec = {"name": "sequentiallr", "milestones": [10], "schedulers": [{"name": "constantlr"}, cycle]}
    require_schedule(make_scheduler(spec, optimizer), 60_010, KEY)
    with pytest.raises(UserError, match="ends after 60010 steps"):
        require_schedule(make_scheduler(spec, optimizer), 60_011, KEY)


@pytest.mark.parametrize("optimizer", ["{name: adam}", "{name: sgd, lr: 0.1, momentum: 0.5}", "{name: muon}"])
@pytest.mark.parametrize(
    "outer", ["{name: ceg_plus, curvature: true}", "{name: lookahead, base: {name: ceg_plus, curvature: true}}"]
)
def test_a_line_search_refuses_an_optimizer_with_state_before_the_folder_is_written(tmp_path, outer, optimizer):
    with pytest.raises(UserError, match=r"^player discriminator: ceg_plus with curvature .* use sgd without momentum"):
        train(config_of(RING, tmp_path, f"outer={outer}", f"game.discriminator.optimizer={optimizer}"))
    assert not list(tmp_path.iterdir())


def test_a_line_search_takes_an_optimizer_without_state_as_it_is(ring):
    plain = [f"game.{name}.optimizer={{name: sgd, lr: 0.1}}" for name in ("generator", "discriminator")]
    first = train(ring(f"outer={SEARCH}", *plain, "run.steps=3"))
    assert state(first)["clock"]["step"] == 3
