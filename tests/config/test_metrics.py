"""The table of metrics: it is the only place that names them, and everything else agrees with it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gantrain.cli import cli
from gantrain.config import parts
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
