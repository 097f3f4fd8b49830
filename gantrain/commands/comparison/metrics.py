"""Which logged values are compared, and which of two values is the better one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gantrain.commands.comparison.groups import Group
from gantrain.commands.comparison.series import Series
from gantrain.config.base import nearest, one_of
from gantrain.config.metrics import METRICS, value_names
from gantrain.errors import UserError
from gantrain.utils.direction import Direction

# The values that evaluations log, by their names without the label in brackets, and which of two is the better one. A
# comparison shows them in this order.
EVALUATED: dict[str, Direction] = {
    name: "lower" if value.lower_is_better else "higher"
    for metric in METRICS.values()
    for value in metric.values
    for name in value.names
} | {
    "validation/matthews_correlation": "higher",
    "validation/f1": "higher",
    "validation/pearson_correlation": "higher",
    "validation/spearman_correlation": "higher",
    "validation/accuracy": "higher",
    "validation/loss": "lower",
}


def choose_metrics(runs: Sequence[Series], metrics: Sequence[str] | None) -> tuple[str, ...]:
    """The full names of the values that are compared.

    Args:
        runs: the runs, each of which must have logged them.
        metrics: what the user asked for; None for the values that all runs have evaluated, or else the losses.

    Raises:
        UserError: a run has logged none of them.
    """
    common = [name for name in runs[0].values if all(name in run.values for run in runs)]
    if metrics is None:
        chosen = evaluated(common, runs) or [name for name in common if name.startswith("loss/")]
        if not chosen:
            raise UserError(_nothing_in_common(runs))
        return tuple(chosen)
    chosen = []
    for metric in metrics:
        fitting = [name for name in common if _is_meant(metric, name)]
        if not fitting:
            lacking = next((run for run in runs if not any(_is_meant(metric, n) for n in run.values)), runs[0])
            known = nearest(metric, map(without_label, lacking.values))
            raise UserError(f"{lacking.folder}: has logged no {metric}; expected {one_of(lacking.values)}{known}")
        chosen += [name for name in fitting if name not in chosen]
    if not chosen:
        raise UserError("--metrics: expected the name of a metric, as in --metrics fid,isc")
    return tuple(chosen)


def direction(metric: str, groups: Sequence[Group]) -> Direction | None:
    """Which of two values of a metric is the better one; None where neither is, as of the losses of a game.

    A player's loss depends on how well its opponents play. The loss of an only player ranks runs of the same game.
    """
    groups = [group for group in groups if any(run.values for run in group.runs)]
    if metric.startswith("loss/"):
        losses = {name for g in groups for run in g.runs for name in run.values if name.startswith("loss/")}
        return "lower" if losses == {metric} and len({group.game for group in groups}) == 1 else None
    recorded = {run.better[metric] for group in groups for run in group.runs if metric in run.better}
    if len(recorded) == 1:
        return recorded.pop()
    return None if recorded else EVALUATED.get(without_label(metric))


def evaluated(names: Iterable[str], runs: Sequence[Series]) -> list[str]:
    """Those of the names of logged values that say how good a run is.

    The values that evaluations log come first, in the order of their table, and then those for which a run has recorded
    which direction is better.
    """
    order = list(EVALUATED)
    measured = sorted((n for n in names if without_label(n) in EVALUATED), key=lambda n: order.index(without_label(n)))
    return measured + [n for n in names if n not in measured and any(n in run.better for run in runs)]


def advice(runs: Sequence[Series]) -> str:
    """What to do if no value that says how good a run is was measured in all runs."""
    lacking = next((run for run in runs if not evaluated(run.values, [run])), runs[0])
    return (
        f"no metric of quality was measured in all runs ({lacking.folder}); set evaluate: in their configs, or measure "
        "checkpoints with gantrain eval RUN"
    )


def without_label(name: str) -> str:
    """The name of a value without the labels in brackets: of the features, and of the weights."""
    return name.partition("[")[0]


def _is_meant(word: str, name: str) -> bool:
    """Whether a word stands for a logged value: its name, or that of a metric, with labels such as [ema] or without."""
    bare, label = without_label(word), word.removeprefix(without_label(word))
    return without_label(name) in (bare, *value_names(bare)) and label in name


def _nothing_in_common(runs: Sequence[Series]) -> str:
    """The message about runs of which none of the metrics, and no loss, is every run's."""
    first = runs[0]
    own = [name for name in first.values if name in evaluated(first.values, [first]) or name.startswith("loss/")]
    other = next((run for run in runs if not any(name in run.values for name in own)), runs[-1])
    return (
        f"{other.folder}: has none of the metrics and losses of {first.folder} ({', '.join(own) or 'none'}); compare "
        "runs of the same game, or name what all have logged with --metrics"
    )
