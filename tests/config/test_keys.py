"""The keys that are meant by options of other programs, and by words in other forms."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from gantrain.cli import cli
from gantrain.config.loading import load
from gantrain.errors import UserError

ROOT = Path(__file__).parents[2]
QUICKSTART, BILINEAR, MAP = (
    str(ROOT / "configs" / name) for name in ("quickstart.yaml", "toy/bilinear.yaml", "theory/map.yaml")
)
BOTH = "game.generator.{0} or game.discriminator.{0}"


def answer(line: str) -> str:
    words = [{"Q": QUICKSTART, "B": BILINEAR, "M": MAP}.get(word, word) for word in shlex.split(line)]
    result = CliRunner().invoke(cli, words)
    assert isinstance(result.exception, UserError | SystemExit) and result.exit_code != 0
    return str(result.exception) if isinstance(result.exception, UserError) else result.output


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train Q --steps 100", "train has no option --steps; write run.steps=100"),
        ("train --steps=100 Q", "train has no option --steps; write run.steps=100"),
        ("train --steps 100", "write run.steps=100"),
        ("train nowhere.yaml --steps 100", "write run.steps=100"),
        ("train Q --run.steps=100", "train has no option --run.steps; write run.steps=100"),
        ("train Q --lr 0.1", f"write {BOTH.format('optimizer.lr=0.1')}"),
        ("train Q --learning-rate 0.1", f"write {BOTH.format('optimizer.lr=0.1')}"),
        ("train Q --generator.lr 0.1", "write game.generator.optimizer.lr=0.1"),
        ("train Q --batch-size 32", "write data.batch_size=32"),
        ("train Q --seed 3", "write run.seed=3"),
        ("train Q --name 'my run'", "write run.name='my run'"),
        ("train Q --device cpu", "write run.device=cpu"),
        ("train Q --gpu", "write run.device=cuda"),
        ("train Q --fp16", "write run.precision=fp16"),
        ("train Q --output here", "write run.folder=here"),
        ("train Q --epochs 5", "write run.steps=STEPS, or run.kimg=N"),
        ("train --compile Q", "write run.compile=true"),
        ("train Q --no-compile", "write run.compile=false"),
        ("train Q --no-ema", "write ema=null"),
        ("train Q --ema-decay 0.9", "write ema.decay=0.9"),
        ("train Q --weight -1", "write game.penalties.0.weight=-1"),
        ("train Q outer=rapp --inner-steps 3", "write outer.inner_steps=3"),
        ("train Q diagnose=null --radius 3", "write diagnose.radius=3"),
        ("train Q --step 100", "did you mean run.steps=100?"),
        ("train Q --overwite", "No such option '--overwite'. Did you mean '--overwrite'?"),
        ("train Q --nothing-like-it", "No such option '--nothing-like-it'"),
        ("sweep Q --lr 0.1 --seeds 2", "sweep has no option --lr; write game.generator.optimizer.lr=0.1 or"),
        ("doctor Q --steps 5", "doctor has no option --steps; write run.steps=5"),
        ("solve B --steps 5", "solve has no option --steps; write steps=5"),
        ("solve B --lr 5", "write optimizer.lr=5"),
        ("map M --steps 5", "map has no option --steps; write steps=5"),
        ("train run.steps=5 Q", "; the config's file comes before KEY=VALUE"),
    ],
)
def test_an_option_that_is_a_key_is_answered_with_what_to_write(line, expected):
    assert expected in answer(line)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run.steps 100", "'run.steps': expected key=value, as in run.steps=100"),
        ("run.steps:100", "'run.steps:100': expected key=value, as in run.steps=100"),
        ("run.steps: 100", "as in run.steps=100"),
        ("run.steps = 100", "as in run.steps=100"),
        ("run.steps =100", "as in run.steps=100"),
        ("run.steps= 100", "as in run.steps=100"),
        ("run.seed=1 run.steps", "'run.steps': expected key=value, as in outer.relaxation=0.5"),
        ("steps=100", "command line: steps: unknown key; did you mean run.steps?"),
        ("game.lr=1", f"command line: game.lr: unknown key; did you mean {BOTH.format('optimizer.lr')}?"),
        ("generator.lr=1", "command line: generator: unknown key; did you mean game.generator.optimizer.lr?"),
        ("run.stpes=1", "command line: run.stpes: unknown key; expected one of name, seed, "),
    ],
)
def test_an_assignment_in_another_form_is_answered_with_the_right_one(words, expected):
    with pytest.raises(UserError) as error:
        load(QUICKSTART, words.split())
    assert expected in str(error.value) and "\n" not in str(error.value)
