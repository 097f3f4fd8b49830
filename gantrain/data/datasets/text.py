"""Texts with a class each, read from the user's own files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gantrain.config.types import shown
from gantrain.data.dataset import DataSet
from gantrain.data.datasets.splits import training_part
from gantrain.data.pretrained import load
from gantrain.data.readers import tables
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gantrain.config.types import FilePath, Fraction, HubPath, NonNegativeInt, PositiveInt

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_BROKEN = re.compile(r"[-+]?[0-9]*\.[0-9]+([eE][-+]?[0-9]+)?")


class Text(DataSet):
    """Texts, or pairs of texts, and their classes, read from .csv, .tsv or .jsonl files and split into tokens.

    The classes are the different labels of the training file, sorted as numbers if all of them are whole numbers and
    as text otherwise. They are numbered from 0, in the same way for all splits.

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
        validation: the fraction of the training file that is held out for validation, the same rows in every run.
        label_noise: the probability that a label of the training part is replaced by a random class; validation and
            test labels stay clean.
        noise_seed: the seed of the label noise.

    Attributes:
        samples: the token ids, ``(n, length)`` int32. A tokenizer that marks the two texts of a pair adds its token
            type ids, which makes ``(n, 2, length)``.
        labels: ``(n,)`` int64.
        classes: the label of each class, as text.
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
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
    ):
        path = test if split == "test" else train
        if path is None:
            raise UserError("data.split: test was asked for, but data.test names no file")
        columns = [text, label] if text_pair is None else [text, label, text_pair]
        rows = tables.read(path, columns)
        self.classes = _classes(train, rows if path == train else tables.read(train, columns), 1)
        number = {name: i for i, name in enumerate(self.classes)}
        labels, texts, pairs = [], [], []
        for line, (first, name, *second) in rows:
            name = _label(path, line, name)
            if name not in number:
                raise UserError(f"{path}:{line}: no row of {train} has the label {name!r}")
            for value in (first, *second):
                if not isinstance(value, str):
                    raise UserError(f"{path}:{line}: expected text, got {shown(value)}")
            labels.append(number[name])
            texts.append(first)
            pairs += second
        splitter = load("data.tokenizer", "AutoTokenizer", tokenizer, "tokenizer.json and tokenizer_config.json")
        padding = _padding(splitter, tokenizer)
        special = splitter.num_special_tokens_to_add(pair=bool(pairs))
        if max_length <= special:
            raise UserError(f"data.max_length: expected more than the {special} special tokens of a sample")
        found = splitter(texts, pairs or None, truncation=True, max_length=max_length, return_attention_mask=False)
        samples = _filled(found["input_ids"], padding)
        for (line, _), ids in zip(rows, found["input_ids"], strict=True):
            if not ids:
                raise UserError(f"{path}:{line}: has no token")
            if padding in ids:
                token = splitter.convert_ids_to_tokens(padding)
                raise UserError(f"{path}:{line}: has the token {token}, with which short texts are filled up")
        if pairs and "token_type_ids" in found:
            samples = torch.stack([samples, _filled(found["token_type_ids"], 0)], dim=1)
        classes = len(self.classes)
        spec = DataSpec(tuple(samples.shape[1:]), classes, vocabulary=len(splitter), padding=padding)
        part: tuple[Tensor, Tensor | None] = samples, torch.tensor(labels)
        if split != "test":
            part = training_part(*part, classes, split, validation, label_noise, noise_seed)
        super().__init__(*part, spec)

    def decode(self, stored: Tensor) -> Tensor:
        """int32 token ids to the int64 by which embeddings are looked up."""
        return stored.long()


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


def _padding(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return found
    raise UserError(f"data.tokenizer: {name} has neither a padding token nor one for the end of a text")


def _filled(rows: list[list[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.int32) for row in rows], batch_first=True, padding_value=value)
