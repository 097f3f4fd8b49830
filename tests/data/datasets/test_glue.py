"""The tasks of GLUE from files of their published layout, and from copies of the hub's."""

from __future__ import annotations

import json

import language
import pytest
import torch
from later import later_or_skip

from gantrain.config.moved import moved
from gantrain.config.parts import build
from gantrain.data.datasets.glue import GLUE, TASKS
from gantrain.data.limit import limited
from gantrain.errors import UserError

later_or_skip("transformers")

CLS, SEP = 2, 3
NUMBER = {word: i for i, word in enumerate(language.WORDS)}
# A training file of two rows as GLUE publishes it: all columns, and what the labels become.
PUBLISHED = {
    "cola": ("CoLA", "gj04\t1\t\tthe film\nbc01\t0\t*\tfilm the\n", [1, 0]),
    "sst2": ("SST-2", "sentence\tlabel\nthe film \t0\nfilm the\t1\n", [0, 1]),
    "mrpc": (
        "MRPC",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tthe film\tend\n0\t9\t8\tfilm the\tend\n",
        [1, 0],
    ),
    "qqp": (
        "QQP",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
        "1\t2\t3\tthe film\tend\t0\nlost\n4\t5\t6\tfilm the\tend\t1\n",
        [0, 1],
    ),
    "stsb": (
        "STS-B",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tg\tf\t2012\t1\tn\tn\tthe film\tend\t3.800\n1\tg\tf\t2012\t2\tn\tn\tfilm the\tend\t0\n",
        [3.8, 0.0],
    ),
    "mnli": (
        "MNLI",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
        "0\t1\t1n\tg\tp\tp\tp\tp\tthe film\tend\tx\tcontradiction\n"
        "1\t2\t2n\tg\tp\tp\tp\tp\tfilm the\tend\tx\tentailment\n",
        [2, 0],
    ),
    "qnli": (
        "QNLI",
        "index\tquestion\tsentence\tlabel\n0\tthe film\tend\tnot_entailment\n1\tfilm the\tend\tentailment\n",
        [1, 0],
    ),
    "rte": (
        "RTE",
        "index\tsentence1\tsentence2\tlabel\n0\tthe film\tend\tentailment\n1\tfilm the\tend\tnot_entailment\n",
        [0, 1],
    ),
    "wnli": ("WNLI", "index\tsentence1\tsentence2\tlabel\n0\tthe film\tend\t1\n1\tfilm the\tend\t0\n", [1, 0]),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return str(language.tokenizer(tmp_path_factory.mktemp("tokenizer")))


def published(folder, task, split="train", content=None):
    name, usual, _ = PUBLISHED[task]
    (folder / name).mkdir(exist_ok=True)
    (folder / name / f"{split}.tsv").write_text(usual if content is None else content, encoding="utf-8")
    return str(folder)


def on_hub(folder, task, split, rows, kind="parquet"):
    """The same as in a copy of the hub's repository: rows are texts and last the label."""
    columns = dict(zip(TASKS[task].hub_columns, zip(*rows, strict=True), strict=True))
    (folder / task).mkdir(exist_ok=True)
    if kind == "jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        (folder / task / f"{split}.jsonl").write_text("\n".join(lines))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        table = pyarrow.table({name: list(values) for name, values in columns.items()})
        for i in range(2):
            half = table.slice(i * (len(rows) // 2), len(rows) // 2)
            parquet.write_table(half, folder / task / f"{split}-0000{i}-of-00002.parquet")
    return str(folder)


@pytest.mark.parametrize("task", PUBLISHED)
def test_published_files_are_read(tmp_path, tokenizer, task):
    data = build("data", {"name": "glue", "task": task, "tokenizer": tokenizer, "path": published(tmp_path, task)})
    words = [NUMBER["the"], NUMBER["film"]]
    if task in ("cola", "sst2"):
        assert data.samples[0].tolist() == [CLS, *words, SEP]
    else:
        assert data.samples[0].tolist() == [[CLS, *words, SEP, NUMBER["end"], SEP], [0, 0, 0, 0, 1, 1]]
    assert torch.equal(data.labels, torch.tensor(PUBLISHED[task][2]))
    assert data.spec.numeric == (task == "stsb") and data.spec.classes == (
        1 if task == "stsb" else len(data.class_names)
    )
    assert len(data.class_names) == {"stsb": 0, "mnli": 3}.get(task, 2)
    assert data.scores == {"cola": ("matthews_correlation",), "mrpc": ("f1",), "qqp": ("f1",)}.get(task, ())


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_copies_of_the_hub_are_read_in_all_their_parts(tmp_path, tokenizer, kind):
    rows = [("the film", "end", 2), ("film the", "end", 0)]
    for split in ("train", "validation_matched", "validation_mismatched", "test_matched"):
        on_hub(tmp_path, "mnli", split, rows[:: 1 if split == "train" else -1], kind)
    found = {s: GLUE("mnli", tokenizer, str(tmp_path), s) for s in ("train", "validation", "validation_mismatched")}
    assert [data.labels.tolist() for data in found.values()] == [[2, 0], [0, 2], [0, 2]]
    assert found["train"].class_names == ("entailment", "neutral", "contradiction")
    on_hub(tmp_path, "stsb", "train", [("the film", "end", 3.5), ("film", "end", 0.0)], kind)
    data = GLUE("stsb", tokenizer, str(tmp_path / "stsb"))  # the folder of the task will do too
    assert data.labels.tolist() == [3.5, 0.0] and data.labels.dtype == torch.float32
    assert limited(data, 1).labels.shape == (1,)


def test_published_mismatched_genres(tmp_path, tokenizer):
    for split in ("dev_matched", "dev_mismatched"):
        first, *rows = PUBLISHED["mnli"][1].splitlines()
        order = rows if split == "dev_matched" else rows[::-1]
        path = published(tmp_path, "mnli", split, "\n".join([first, *order]) + "\n")
    assert GLUE("mnli", tokenizer, path, "validation").labels.tolist() == [2, 0]
    assert GLUE("mnli", tokenizer, path, "validation_mismatched").labels.tolist() == [0, 2]


def test_the_hub_is_asked_for_one_task_where_the_cache_lacks_it(tmp_path, tokenizer, monkeypatch):
    on_hub(tmp_path, "rte", "train", [("the film", "end", 1), ("film", "end", 0)], "jsonl")
    asked = []

    def download(name, repo_type, allow_patterns, local_files_only):
        asked.append((name, repo_type, allow_patterns, local_files_only))
        return str(tmp_path / "empty") if local_files_only else str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert GLUE("rte", tokenizer).labels.tolist() == [1, 0]
    assert asked == [("nyu-mll/glue", "dataset", "rte/*.parquet", offline) for offline in (True, False)]
    with pytest.raises(
        UserError, match="^data.path: nyu-mll/glue is neither .* copy the data set into a folder"
    ) as error:
        GLUE("wnli", tokenizer)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        (
            "rte",
            "index\tsentence1\tsentence2\tlabel\n0\ta\tend\tneutral\n",
            r":2: expected a label, one of 0,",
        ),
        ("rte", "index\tsentence1\tsentence2\n0\ta\tend\n", r"train\.tsv: no column 'label'"),
        (
            "rte",
            "index\tsentence1\tsentence2\tlabel\n0\ta\tend\n",
            r":2: expected 4 columns as before, got 3",
        ),
        (
            "stsb",
            "sentence1\tsentence2\tscore\na\tend\tnan\n",
            r":2: expected a label that is a number, got 'nan'",
        ),
        (
            "cola",
            "gj04\t-1\t\tthe film\n",
            r":1: .*got '-1'; the labels of GLUE's test parts are not published",
        ),
    ],
)
def test_a_bad_row_is_named_with_its_file_and_line(tmp_path, tokenizer, task, content, message):
    with pytest.raises(UserError, match=message) as error:
        GLUE(task, tokenizer, published(tmp_path, task, content=content))
    assert "\n" not in str(error.value)


def test_a_missing_part_says_what_was_expected(tmp_path, tokenizer):
    path = published(tmp_path, "cola")
    with pytest.raises(UserError, match=r"has no file of cola for the split validation; expected CoLA/dev\.tsv of the"):
        GLUE("cola", tokenizer, path, "validation")
    with pytest.raises(UserError, match="validation_mismatched is a part of mnli only, and not of cola"):
        GLUE("cola", tokenizer, path, "validation_mismatched")


def test_the_data_may_move(tokenizer):
    content = {"data": {"name": "glue", "task": "rte", "tokenizer": tokenizer}}
    assert moved(content, "/elsewhere")["data"] == content["data"] | {"path": "/elsewhere"}
