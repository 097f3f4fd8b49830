"""The tags of a run's scalars in TensorBoard: few groups, each with what a person looks at together.

A tag is a function of the scalar's name in ``metrics.jsonl``, and ends with this name.
"""

from __future__ import annotations

# The first part of a name -> the group that is put in front of the name. What is not here stays as it is.
_GROUPS = {
    "validation": "quality",
    **dict.fromkeys(("time", "kimg", "images_per_second", "steps_per_second", "outer_steps", "gradients"), "cost"),
    **dict.fromkeys(("advice", "diagnose", "clipped", "loss_scale", "initial_distance"), "health"),
    **dict.fromkeys(("ada", "lecam", "path_length", "cosine", "gradient_distance"), "health"),
    "lr": "schedule",
}


def tag(name: str) -> str:
    """The tag of a scalar.

    Args:
        name: the name of the scalar in ``metrics.jsonl``. One that is not known and has no ``/`` is the value of a
            metric, and goes to ``quality/``; one that has is in a group already.

    Examples:
        >>> [tag(name) for name in ("fid", "loss/generator", "gradients/generator", "lr/generator")]
        ['quality/fid', 'loss/generator', 'cost/gradients/generator', 'schedule/lr/generator']
    """
    first, slash, _ = name.partition("/")
    group = _GROUPS.get(first, "" if slash else "quality")
    return f"{group}/{name}" if group else name
