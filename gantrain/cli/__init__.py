"""The command line, a file for each command. Commands check the config first, and import torch only afterwards."""

from gantrain.cli import (
    compare,
    diagnose,
    doctor,
    evaluate,
    export,
    list_runs,
    map,
    new,
    report,
    sample,
    schema,
    solve,
    sweep,
    train,
)
from gantrain.cli.entry import main
from gantrain.cli.group import cli

for command in (
    compare.compare,
    diagnose.diagnose,
    doctor.doctor,
    evaluate.evaluate,
    export.export,
    list_runs.list_runs,
    map.map_,
    new.new,
    report.report,
    sample.sample,
    schema.schema,
    solve.solve,
    sweep.sweep,
    train.train,
):
    cli.add_command(command)

__all__ = ["cli", "main"]
