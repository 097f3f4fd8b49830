"""The table of metrics: it is the only place that names them, and everything else agrees with it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from gantrain.cli import cli
from gantrain.config import parts
from gantrain.config.base import lines
from gantrain.config.metrics import BEST, DEFAULT_METRICS, METRICS, value_for, value_names
from gantrain.config.registry import kind
from gantrain.config.sections import Evaluate


@pytest.mark.parametrize("key", METRICS)
def test_the_class_of_each_metric_has_the_description_of_its_key(key):
    assert parts.build("metric", key).description is METRICS[key]


def test_configs_and_the_command_line_know_all_metrics():
    assert (
        list(kind("metric").parts)
        == list(METRICS)
        == [*("fid", "isc", "kid", "prc", "prdc", "authenticity", "intra_class_fid", "ppl")]
    )
    assert Evaluate(metrics=list(METRICS)).metrics == tuple(METRICS)
    assert f"Some of {','.join(METRICS)};" in CliRunner().invoke(cli, ["eval", "--help"], terminal_width=500).output
    assert DEFAULT_METRICS == ("fid", "isc", "kid", "prc")


def test_words_stand_for_values():
    assert list(BEST) == [
        *("fid", "isc", "kid", "precision", "recall", "density", "coverage"),
        *("authenticity", "memorised", "intra_class_fid", "ppl"),
    ]
    assert [value_for(word).name for word in ("prc", "recall", "isc")] == ["precision", "recall", "inception_score"]
    assert value_names("prc") == ("precision", "recall") and value_names("loss/x") == ("loss/x",)
    assert value_names("fid") == ("fid", "frechet_distance")
    assert value_for("fid").full_name(None) == "fid" and value_for("kid").full_name("x") == "kernel_distance[x]"


def refused(**section) -> str:
    with pytest.raises(ValidationError) as caught:
        Evaluate(**section)
    ((key, message),) = lines(caught.value, section)
    return f"{key}: {message}"


def test_a_metric_may_have_features_of_its_own():
    entries = ["fid", {"name": "fid", "features": "dinov2-vit-b-14"}, {"name": "prc"}, {"name": "prdc", "k": 3}]
    section = Evaluate(metrics=entries, best="coverage")
    assert section.metrics[0] == "fid" and section.metrics[2] == "prc" and section.compared_by == "coverage"
    assert section.metrics[1].features.name == "dinov2-vit-b-14" and section.metrics[3].k == 3
    assert Evaluate(**section.model_dump(mode="json")) == section
    old = Evaluate(metrics=["fid", "prc"], features={"name": "inception", "weights": None, "digest": None})
    assert old.features.name == "inception" and Evaluate().features is None
    twice = "evaluate.metrics.1: reports fid, as entry 0 does; give it other features, or leave it out"
    for other in ({"name": "fid", "features": "inception"}, {"name": "fid", "features": {"name": "inception"}}):
        assert f"evaluate.{refused(metrics=['fid', other])}" == twice
    assert "did you mean 'vgg16'?" in refused(metrics=[{"name": "prc", "features": {"name": "vgg-16"}}])
    assert refused(metrics=["prdc"], best="memorised").endswith("add authenticity to evaluate.metrics")
    bounds = {"precision": 0.2, "recall": None}
    assert Evaluate(metrics=["prc"], stop_if_worse_than=bounds).stop_if_worse_than == {"precision": 0.2}
    bounded = [refused(stop_if_worse_than=bounds) for bounds in ({"fidd": 3}, {"kid": 3}, {"fid": "low"}, 3)]
    assert bounded[0].startswith("stop_if_worse_than.fidd: expected one of fid, ")
    assert bounded[0].endswith("did you mean 'fid'?")
    assert bounded[1] == "stop_if_worse_than.kid: kid is not measured; add kid to evaluate.metrics"
    assert bounded[2].startswith(
        "stop_if_worse_than: expected a number for each value, as in {fid: 100}, got a mapping"
    )
    assert bounded[2].endswith("in which fid is 'low'") and bounded[3].endswith("as in {fid: 100}, got 3")
    assert "metrics.0.k" in refused(metrics=[{"name": "fid", "k": 3}])
