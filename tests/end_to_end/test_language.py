"""Fine-tuning from a YAML file, with every gradient oracle, on texts whose class a few words give away."""

from __future__ import annotations

import json
from pathlib import Path

import language
import pytest
import torch
import yaml
from forked import Command
from later import later_or_skip
from torch import nn

from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.train import make_trainer, train
from gantrain.config.loading import load
from gantrain.data.datasets.glue import TASKS
from gantrain.errors import UserError
from gantrain.models import HuggingFace
from gantrain.runs import checkpoint
from gantrain.runs.better import read_better
from gantrain.runs.summary import summarise

later_or_skip("transformers")

ORACLES = {
    "plain": None,
    "sam": {"name": "sam", "rho": 0.05},
    "asam": {"name": "sam", "rho": 0.5, "geometry": "elementwise"},
    "sampa": {"name": "sampa", "rho": 0.05, "mix": 0.1},
    "bisam": {"name": "sam", "rho": 0.05, "climb": "tanh"},
}


class Tied(HuggingFace):
    """With a weight that has two names, and one that nothing uses."""

    def __init__(self, spec, checkpoint: str):
        super().__init__(spec, checkpoint)
        self.words = self.network.get_input_embeddings()
        self.unused = nn.Linear(3, 2)


@pytest.fixture(autouse=True)
def one_thread():
    """The networks are too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    language.bert(folder / "bert")
    language.write(folder / "train.tsv", language.opinions(400, seed=0))
    language.write(folder / "dev.tsv", language.opinions(200, seed=1))
    pairs = [
        {"first": one["text"], "second": two["text"], "same": "yes" if one["label"] == two["label"] else "no"}
        for one, two in zip(language.opinions(1200, seed=2), language.opinions(2400, seed=3)[::2], strict=True)
    ]
    language.write(folder / "pairs.jsonl", pairs[:1000])
    language.write(folder / "more_pairs.jsonl", pairs[1000:])
    return folder


def config(files, folder, **changes):
    """The checked config of a run in ``folder``, by way of a YAML file."""
    content = {
        "run": {"name": "opinions", "steps": 60, "folder": str(folder), "device": "cpu"},
        "data": {
            "name": "text",
            "train": str(files / "train.tsv"),
            "test": str(files / "dev.tsv"),
            "tokenizer": str(files / "bert"),
            "batch_size": 32,
        },
        "game": {
            "name": "classification",
            "classifier": {
                "model": {"name": "huggingface", "checkpoint": str(files / "bert")},
                "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 0.01},
            },
        },
        "evaluate": {"data": {"split": "test"}, "every": 30},
        "checkpoint": {"every": 1000},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return load(path, [f"{key}={json.dumps(value)}" for key, value in changes.items()])


def accuracy(run):
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["validation/accuracy"] for row in rows if "validation/accuracy" in row][-1]


# Without an oracle, pairs are told apart below.
@pytest.mark.slow
@pytest.mark.parametrize("oracle", ORACLES)
def test_every_oracle_learns_to_tell_opinions(files, tmp_path, oracle):
    checked = config(files, tmp_path, **{"game.classifier.sharpness": ORACLES[oracle]})
    assert accuracy(train(checked)) > 0.95


@pytest.mark.slow
def test_pairs_are_told_apart_from_scratch(files, tmp_path):
    """The label depends on both texts, and on neither alone."""
    data = {"train": str(files / "pairs.jsonl"), "test": str(files / "more_pairs.jsonl")}
    data |= {"text": "first", "text_pair": "second", "label": "same", "max_length": 24}
    changes = {f"data.{key}": value for key, value in data.items()}
    changes |= {"run.steps": 300, "evaluate.every": 300, "game.classifier.model.pretrained": False}
    assert accuracy(train(config(files, tmp_path, **changes))) > 0.9


@pytest.mark.parametrize(
    ("model", "oracle"),
    [
        # SAMPa takes two gradients of one batch, with the masks of dropout drawn twice.
        pytest.param(model, oracle, marks=[pytest.mark.slow] * ((model, oracle) != ("huggingface", "sampa")))
        for model in ("huggingface", "tied")
        for oracle in ("plain", "sam", "sampa")
    ],
)
def test_a_resumed_run_with_dropout_is_the_uninterrupted_one_to_the_last_bit(files, tmp_path, model, oracle):
    changes = {"game.classifier.sharpness": ORACLES[oracle], "ema": {"decay": 0.9}, "evaluate.every": 1000}
    if model == "tied":
        changes["game.classifier.model"] = {"target": f"{__name__}:Tied", "checkpoint": str(files / "bert")}
    whole = train(config(files, tmp_path, **changes, **{"run.name": "whole", "run.steps": 6}))
    train(config(files, tmp_path, **changes, **{"run.name": "halves", "run.steps": 3}))
    halves = train(config(files, tmp_path, **changes, **{"run.name": "halves", "run.steps": 6}), resume=True)
    (_, one), (_, two) = (checkpoint.load(checkpoint.newest(run)) for run in (whole, halves))
    assert one["classifier"].keys() == two["classifier"].keys() and one["clock"]["step"] == 6
    for part in ("classifier", "ema"):
        assert all(torch.equal(torch.as_tensor(one[part][k]), torch.as_tensor(two[part][k])) for k in one[part])
    if model == "tied":
        words = "network.bert.embeddings.word_embeddings.weight"
        assert torch.equal(one["classifier"][words], one["classifier"]["words.weight"])
    config_json = json.loads((files / "bert" / "config.json").read_text())
    assert config_json["hidden_dropout_prob"] > 0 and config_json["attention_probs_dropout_prob"] > 0


# The values that are logged for a task; the best checkpoint is that with the best value of the first.
GLUE = dict.fromkeys(("sst2", "qnli", "rte", "wnli", "mnli"), ["accuracy"])
GLUE |= {"cola": ["matthews_correlation", "accuracy"], "stsb": ["pearson_correlation", "spearman_correlation"]}
GLUE |= dict.fromkeys(("mrpc", "qqp"), ["f1", "accuracy"])


def glue(files, folder, task, steps, *changes):
    """The config of a task that is shipped, for a tiny network and a copy of the hub's data made of opinions."""
    (folder / task).mkdir(exist_ok=True)
    *texts, label = TASKS[task].hub_columns
    for split, seed in (("train", 0), ("validation", 1)):
        rows = []
        for row in language.opinions(200, seed):
            good = row["label"] == "positive"
            value = 5.0 * good if task == "stsb" else int(good)
            rows.append(dict.fromkeys(texts, row["text"]) | {label: value})
        language.write(folder / task / f"{split}.jsonl", rows)
    player = "regressor" if task == "stsb" else "classifier"
    keys = {f"game.{player}.model.checkpoint": files / "bert", "data.tokenizer": files / "bert", "data.path": folder}
    keys |= {"run.folder": folder / "runs", "run.steps": steps, "run.device": "cpu", "data.max_length": 24}
    path = Path(__file__).parents[2] / "configs" / "language" / f"{task}.yaml"
    return load(path, [f"{key}={value}" for key, value in keys.items()] + list(changes))


@pytest.mark.parametrize(
    "task", [pytest.param(t, marks=[pytest.mark.slow] * (t not in ("cola", "mrpc", "stsb"))) for t in sorted(GLUE)]
)
def test_the_tasks_of_glue_run_and_are_scored_as_glue_scores_them(files, tmp_path, task):
    run = train(glue(files, tmp_path, task, 2))
    assert run == tmp_path / "runs" / task
    row = [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())][-1]
    names = [name.removeprefix("validation/") for name in row if name.startswith("validation/")]
    assert sorted(names) == sorted([*GLUE[task], "loss"])
    better = read_better(run)
    assert all(better[f"validation/{name}"] == "higher" for name in GLUE[task]) and better["validation/loss"] == "lower"
    assert summarise(run).metric == f"validation/{GLUE[task][0]}"


@pytest.mark.slow
def test_similarities_are_learned_resumed_and_evaluated(files, tmp_path):
    quick = ["game.regressor.optimizer.lr=3e-3", "game.regressor.scheduler=null", "evaluate.every=1000"]
    whole = train(glue(files, tmp_path, "stsb", 60, *quick, "run.name=whole"))
    train(glue(files, tmp_path, "stsb", 30, *quick, "run.name=halves"))
    halves = train(glue(files, tmp_path, "stsb", 60, *quick, "run.name=halves"), resume=True)
    (_, one), (_, two) = (checkpoint.load(checkpoint.newest(run)) for run in (whole, halves))
    assert all(torch.equal(one["regressor"][key], two["regressor"][key]) for key in one["regressor"])
    found = evaluate_run(str(whole), Request()).values
    assert found["pearson_correlation"].value > 0.95 and not found["pearson_correlation"].lower_is_better


def test_what_needs_classes_is_refused_for_similarities_in_one_line(files, tmp_path):
    with pytest.raises(
        UserError, match="game.regressor.sharpness.climb: tanh climbs the margins of a classification"
    ) as error:
        glue(files, tmp_path, "stsb", 2, "game.regressor.sharpness={name: sam, rho: 0.05, climb: tanh}")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="classification needs classes, .* are numbers; use the game regression"):
        make_trainer(glue(files, tmp_path, "mrpc", 2, "data.task=stsb"), torch.device("cpu"))
    with pytest.raises(UserError, match="regression needs labels that are numbers, and those .* are classes"):
        make_trainer(glue(files, tmp_path, "stsb", 2, "data.task=mrpc"), torch.device("cpu"))


def test_the_classifier_begins_as_the_seed_says(files, tmp_path):

    def head(seed):
        trainer = make_trainer(config(files, tmp_path, **{"run.seed": seed}), torch.device("cpu"))
        return trainer.game.classifier.network.classifier.weight

    assert torch.equal(head(0), head(0)) and not torch.equal(head(0), head(1))


def test_without_the_extra_one_line_says_how_to_install_it(files, tmp_path):
    """And nothing else needs it."""
    config(files, tmp_path)
    command = Command(tmp_path, "train", "config.yaml", target=language.without_transformers)
    assert command.wait() == 2
    assert command.errors == (
        "gantrain: data.tokenizer: needs the package transformers, which is not installed; "
        "pip install 'gantrain[language]'\n"
    )
    assert not (tmp_path / "opinions").exists()
