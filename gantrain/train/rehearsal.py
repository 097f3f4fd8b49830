"""A training step in rehearsal, so that mistakes in a user's own loop, oracle, optimizer or constraint show early."""

from __future__ import annotations

import copy
from typing import Any

from gantrain.config.user_code import UserCode, described, is_users, name_of
from gantrain.errors import UserError
from gantrain.outer.base import Outer
from gantrain.outer.field import Field
from gantrain.utils.tensors import preserve


def rehearse_step(outer: Outer, field: Field) -> None:
    """Take a step and undo it, if the game, the loop, an oracle, an optimizer or a constraint is the user's own.

    Afterwards the parts, parameters, buffers, counters and random states are as they were. All processes must call this
    together.

    Args:
        outer: the outer loop, before its first step.
        field: its field.

    Raises:
        UserError: a part raises an error, or returns something that cannot be used.
    """
    parts: list[Any] = [outer]
    for learner in field.learners:
        parts += [part for part in (learner.oracle, learner.optimizer, learner.constraint) if part is not None]
    if not any(map(is_users, (*parts, field.evaluator.game))):
        return
    evaluator = field.evaluator
    modules = [module for learner in field.learners for module in learner.player.module.modules()]
    parameters = [p for learner in field.learners for p in learner.parameters]
    # What a part refers to, and is no state of its own.
    others = [field, evaluator, evaluator.game, *field.learners, *evaluator.game.players.values()]
    shared = {id(each): each for each in (*parts, *others, *modules, *parameters, *evaluator.buffers)}
    try:
        states = [(vars(part), copy.deepcopy(vars(part), dict(shared))) for part in parts]
    except Exception:  # a part that cannot be copied shows its mistakes in the first step
        return
    counters = copy.deepcopy(evaluator.state_dict())
    try:
        with evaluator.unchanged(), preserve(parameters):
            take_step(outer, field)
    finally:
        evaluator.load_state_dict(counters)
        for learner in field.learners:
            learner.forget_clipped()
        for attributes, before in states:
            attributes.clear()
            attributes.update(before)


def take_step(outer: Outer, field: Field) -> bool:
    """Take a step of the innermost outer loop; whether the outermost has completed one.

    Raises:
        UserError: the loop evaluates no gradient, or returns something else.
    """
    evaluator = field.evaluator
    before = dict(evaluator.evaluations)
    with UserCode("outer", outer):
        completed: Any = outer.step(field)
    if not isinstance(completed, bool):
        raise UserError(f"outer: {name_of(outer)}.step: expected true or false, got {described(completed)}")
    if evaluator.evaluations == before:
        raise UserError(f"outer: {name_of(outer)}.step: evaluated no gradient; expected a call of field.evaluate")
    return completed
