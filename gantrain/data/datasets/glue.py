"""The tasks of GLUE, from their published files or from the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from gantrain.config.base import one_of
from gantrain.config.types import shown
from gantrain.data.datasets.tokens import TokenSet, number, tokens_of
from gantrain.data.pretrained import data_folder
from gantrain.data.readers import tables
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import HubPath, PositiveInt

Columns = tuple[str | int, ...]


@dataclass(frozen=True)
class Task:
    """What distinguishes a task of GLUE.

    Attributes:
        folder: its folder among the published files.
        columns: the columns of the published .tsv files: the texts, and last the label.
        hub_columns: the columns of the same data on the Hugging Face hub.
        classes: the names of the classes in the order of the hub's numbers; empty where labels are numbers.
        scores: the scores by which GLUE ranks, beside accuracy.
    """

    folder: str
    columns: Columns
    hub_columns: Columns
    classes: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()


_SENTENCES = ("sentence1", "sentence2")
_ENTAILED = ("entailment", "not_entailment")
TASKS = {
    # The files of CoLA have no header: source, label, the author's mark, sentence.
    "cola": Task("CoLA", (3, 1), ("sentence", "label"), ("unacceptable", "acceptable"), ("matthews_correlation",)),
    "sst2": Task("SST-2", ("sentence", "label"), ("sentence", "label"), ("negative", "positive")),
    "mrpc": Task(
        "MRPC",
        ("#1 String", "#2 String", "Quality"),
        (*_SENTENCES, "label"),
        ("not_equivalent", "equivalent"),
        ("f1",),
    ),
    "qqp": Task(
        "QQP",
        ("question1", "question2", "is_duplicate"),
        ("question1", "question2", "label"),
        ("not_duplicate", "duplicate"),
        ("f1",),
    ),
    "stsb": Task("STS-B", (*_SENTENCES, "score"), (*_SENTENCES, "label")),
    "mnli": Task(
        "MNLI",
        (*_SENTENCES, "gold_label"),
        ("premise", "hypothesis", "label"),
        ("entailment", "neutral", "contradiction"),
    ),
    "qnli": Task("QNLI", ("question", "sentence", "label"), ("question", "sentence", "label"), _ENTAILED),
    "rte": Task("RTE", (*_SENTENCES, "label"), (*_SENTENCES, "label"), _ENTAILED),
    "wnli": Task("WNLI", (*_SENTENCES, "label"), (*_SENTENCES, "label"), ("not_entailment", "entailment")),
}
# The names that the files of a split begin with, in the published files and on the hub.
_SPLITS = {
    "train": ("train",),
    "validation": ("dev", "validation", "dev_matched", "validation_matched"),
    "validation_mismatched": ("dev_mismatched", "validation_mismatched"),
}


class GLUE(TokenSet):
    """A task of GLUE: sentences, or pairs of sentences, with classes, or for STS-B with a similarity from 0 to 5.

    ``path`` is the folder that holds the published folders (CoLA, SST-2, MRPC, QQP, STS-B, MNLI, QNLI, RTE, WNLI) with
    their train.tsv and dev.tsv; or a copy of the data set of the hub, with .parquet files in a folder for each task
    (cola, sst2 …), which may also be .jsonl, .csv or .arrow files with the same columns; or the folder of the task
    itself. The labels of GLUE's test parts are not published. Rows of QQP's published files that have lost columns are
    left out, as they are on the hub. Parquet files need pip install 'gantrain[huggingface]'.

    Source: Wang et al., GLUE: a multi-task benchmark and analysis platform for natural language understanding, ICLR
    2019.

    Args:
        task: the task. ``stsb`` is for the game regression, the others are for classification.
        tokenizer: the folder of a Hugging Face tokenizer, or its name on the hub; it must be the classifier's own.
        path: the folder of the data, or the name of a data set of this layout on the hub.
        split: "train", "validation" (the published development part; of MNLI the one of matched genres), or
            "validation_mismatched" (only of MNLI).
        max_length: the largest number of tokens in a sample, counting special tokens and both texts of a pair; longer
            ones are cut.

    Attributes:
        samples: the token ids, ``(n, length)`` int32. A tokenizer that marks the two texts of a pair adds its token
            type ids, which makes ``(n, 2, length)``.
        labels: ``(n,)`` int64, or float32 for STS-B.
        class_names: the names of the classes; empty for STS-B.
        scores: the scores by which GLUE ranks, beside accuracy: ``matthews_correlation`` for CoLA, ``f1`` for MRPC and
            QQP.

    Raises:
        UserError: a file, a row or the tokenizer is missing or wrong.
    """

    def __init__(
        self,
        task: Literal["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"],
        tokenizer: HubPath,
        path: HubPath = "nyu-mll/glue",
        split: Literal["train", "validation", "validation_mismatched"] = "train",
        max_length: PositiveInt = 128,
    ):
        if split == "validation_mismatched" and task != "mnli":
            raise UserError(f"data.split: validation_mismatched is a part of mnli only, and not of {task}")
        about = TASKS[task]
        found = data_folder("data.path", path, f"{task}/*.parquet", lambda folder: bool(_files(folder, task, split)))
        files = _files(found, task, split)
        if not files:
            raise UserError(
                f"data.path: {path} has no file of {task} for the split {split}; expected {about.folder}/"
                f"{_SPLITS[split][0]}.tsv of the published data, or {task}/{_SPLITS[split][-1]}*.parquet of the hub"
            )
        rows, places = [], []
        for file in files:
            columns = about.columns if file.suffix == ".tsv" else about.hub_columns
            for line, row in tables.read(file, columns, ragged=task == "qqp"):
                rows.append(row)
                places.append((file, line))

        def place(i: int) -> str:
            return f"{places[i][0]}:{places[i][1]}"

        for i, row in enumerate(rows):
            for value in row[:-1]:
                if not isinstance(value, str):
                    raise UserError(f"{place(i)}: expected text, got {shown(value)}")
        if about.classes:
            labels = torch.tensor([_class(place(i), row[-1], about.classes) for i, row in enumerate(rows)])
        else:
            labels = torch.tensor([number(place(i), row[-1]) for i, row in enumerate(rows)])
        pairs = [row[1] for row in rows] if len(about.columns) == 3 else []
        tokens = tokens_of(tokenizer, [row[0] for row in rows], pairs, max_length, place)
        self.class_names = about.classes
        self.scores = about.scores
        super().__init__(tokens, labels, len(about.classes))


def _files(folder: Path, task: str, split: str) -> list[Path]:
    """The files of a split, all of one kind; none if there are none."""
    for place in (folder / TASKS[task].folder, folder / task, folder):
        for name in _SPLITS[split]:
            for kind in tables.KINDS:
                several = [] if kind == ".tsv" else [*place.glob(f"{name}-*{kind}"), *place.glob(f"{name}/*{kind}")]
                files = [place / f"{name}{kind}", *sorted(several)]
                files = [file for file in files if file.is_file()]
                if files:
                    return files
    return []


def _class(place: str, value: Any, names: tuple[str, ...]) -> int:
    """The number of a class, of which a file has the number or the name."""
    text = "" if isinstance(value, bool) else str(value).strip()
    if text in names:
        return names.index(text)
    numbers = [str(i) for i in range(len(names))]
    if text not in numbers:
        hidden = "; the labels of GLUE's test parts are not published" if text == "-1" else ""
        raise UserError(f"{place}: expected a label, {one_of([*numbers, *names])}, got {shown(value)}{hidden}")
    return int(text)
