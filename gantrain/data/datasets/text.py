"""Texts with a class or a number each, read from the user's own files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from gantrain.config.types import shown
from gantrain.data.datasets.splits import training_part
from gantrain.data.datasets.tokens import TokenSet, number, tokens_of
from gantrain.data.readers import tables
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import FilePath, Fraction, HubPath, NonNegativeInt, PositiveInt

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_BROKEN = re.compile(r"[-+]?[0-9]*\.[0-9]+([eE][-+]?[0-9]+)?")


class Text(TokenSet):
    """Texts, or pairs of texts, and their labels, read from files and split into tokens.

    The files are .csv, .tsv, .jsonl, .parquet or .arrow. The classes are the different labels of the training file,
    sorted as numbers if all of them are whole numbers and as text otherwise. They are numbered from 0, in the same way
    for all splits.

    Tab-separated files have no quotes, as in GLUE. Texts are cut to ``max_length`` tokens, and filled up to the longest
    text of the file with the tokenizer's padding token or, if it has none, its end-of-text token.

    Args:
        train: the training file.
        tokenizer: the folder of a Hugging Face tokenizer, or its name on the hub; it must be the classifier's own.
        test: the file with held-out rows.
        split: "train", "validation" (held out of the training file) or "test".
        max_length: the largest number of tokens in a sample, counting special tokens and both texts of a pair.
        text: the column of the text: its name in the header or JSON object, or its position from 0 in a file without
            header.
        text_pair: the column of the second text of a pair; by default samples are single texts.
        label: the column of the label, which is a whole number or text.
        numeric: whether labels are numbers that the game regression predicts, and not classes.
        validation: the fraction of the training file that is held out for validation, the same rows in every run.
        label_noise: the probability that a label of the training part is replaced by a random class; validation and
            test labels stay clean.
        noise_seed: the seed of the label noise.

    Attributes:
        samples: the token ids, ``(n, length)`` int32. A tokenizer that marks the two texts of a pair adds its token
            type ids, which makes ``(n, 2, length)``.
        labels: ``(n,)`` int64, or float32 if ``numeric``.
        classes: the label of each class, as text; empty if ``numeric``.
        spec: the shape, the number of classes, the vocabulary and the padding token.

    Raises:
        UserError: a file, a row or the tokenizer is missing or wrong.
    """

    def __init__(
        self,
        train: FilePath,
        tokenizer: HubPath,
        test: FilePath | None = None,
        split: Literal["train", "validation", "test"] = "train",
        max_length: PositiveInt = 128,
        text: str | NonNegativeInt = "text",
        text_pair: str | NonNegativeInt | None = None,
        label: str | NonNegativeInt = "label",
        numeric: bool = False,
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
    ):
        path = test if split == "test" else train
        if path is None:
            raise UserError("data.split: test was asked for, but data.test names no file")
        columns = [text, label] if text_pair is None else [text, label, text_pair]
        rows = tables.read(path, columns)
        for line, (first, _, *second) in rows:
            for value in (first, *second):
                if not isinstance(value, str):
                    raise UserError(f"{path}:{line}: expected text, got {shown(value)}")
        self.classes: tuple[str, ...] = ()
        self.class_names: tuple[str, ...] = ()
        if numeric:
            if label_noise:
                raise UserError("data.label_noise: labels that are numbers have no random class; set it to 0")
            labels = torch.tensor([number(f"{path}:{line}", row[1]) for line, row in rows])
        else:
            self.classes = self.class_names = _classes(train, rows if path == train else tables.read(train, columns), 1)
            labels = torch.tensor([self._class(train, path, line, row[1]) for line, row in rows])
        texts, pairs = [row[0] for _, row in rows], [text for _, row in rows for text in row[2:]]
        tokens = tokens_of(tokenizer, texts, pairs, max_length, lambda i: f"{path}:{rows[i][0]}")
        if split != "test":
            part = training_part(tokens.samples, labels, len(self.classes), split, validation, label_noise, noise_seed)
            tokens, labels = tokens._replace(samples=part[0]), cast(Tensor, part[1])
        super().__init__(tokens, labels, len(self.classes))

    def _class(self, train: str, path: str, line: int, value: Any) -> int:
        name = _label(path, line, value)
        if name not in self.classes:
            raise UserError(f"{path}:{line}: no row of {train} has the label {name!r}")
        return self.classes.index(name)


def _classes(path: str, rows: list[tuple[int, list[Any]]], column: int) -> tuple[str, ...]:
    found = {_label(path, line, row[column]) for line, row in rows}
    if len(found) < 2:
        raise UserError(f"{path}: expected at least two different labels, got only {found.pop()!r}")
    return tuple(sorted(found, key=int if all(_WHOLE.fullmatch(name) for name in found) else None))


def _label(path: str, line: int, value: Any) -> str:
    name = str(value).strip()
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not name or _BROKEN.fullmatch(name):
        raise UserError(f"{path}:{line}: expected a label, a whole number or text, got {shown(value)}")
    return name
