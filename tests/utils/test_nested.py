from __future__ import annotations

from gantrain.utils.nested import flatten


def test_leaves_have_dotted_paths():
    config = {
        "a": {"b": {"c": 1, "d": True}, "e": None},
        "betas": (0.0, 0.9),
        "penalties": [{"name": "r1", "weight": 10.0}, {"name": "r2"}],
        "empty": {},
        "none": [],
        "name": "x",
    }
    assert flatten(config) == {
        "a.b.c": 1,
        "a.b.d": True,
        "a.e": None,
        "betas": (0.0, 0.9),
        "penalties.0.name": "r1",
        "penalties.0.weight": 10.0,
        "penalties.1.name": "r2",
        "empty": {},
        "none": [],
        "name": "x",
    }
