"""Texts as the tokens that a Hugging Face tokenizer splits them into."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gantrain.config.types import shown
from gantrain.data.dataset import DataSet
from gantrain.data.pretrained import load
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Tokens(NamedTuple):
    """Texts as tokens.

    Attributes:
        samples: ``(n, length)`` int32, or ``(n, 2, length)`` with the token types of pairs.
        vocabulary: the number of different tokens.
        padding: the token with which shorter texts are filled up.
    """

    samples: Tensor
    vocabulary: int
    padding: int


class TokenSet(DataSet):
    """Texts as tokens, with their labels.

    Args:
        tokens: the texts.
        labels: ``(n,)`` int64 class indices, or float32 numbers.
        classes: the number of classes; 0 where labels are numbers.
    """

    def __init__(self, tokens: Tokens, labels: Tensor, classes: int):
        shape, numeric = tuple(tokens.samples.shape[1:]), not classes
        spec = DataSpec(shape, classes or 1, tokens.vocabulary, tokens.padding, numeric)
        super().__init__(tokens.samples, labels, spec)

    def decode(self, stored: Tensor) -> Tensor:
        """int32 token ids to the int64 by which embeddings are looked up."""
        return stored.long()


def tokens_of(
    tokenizer: str, texts: Sequence[str], pairs: Sequence[str], max_length: int, place: Callable[[int], str]
) -> Tokens:
    """Split texts, or pairs of texts, into tokens.

    Texts are cut to ``max_length`` tokens, and filled up to the longest text with the tokenizer's padding token or, if
    it has none, its end-of-text token.

    Args:
        tokenizer: the folder of a tokenizer, or its name on the hub.
        texts: the texts.
        pairs: the second text of each pair; empty where samples are single texts.
        max_length: the largest number of tokens in a sample, counting special tokens and both texts of a pair.
        place: the file and line of a text by its position, for messages.

    Raises:
        UserError: the tokenizer cannot be loaded, or a text has no token, or the one for padding.
    """
    splitter = load("data.tokenizer", "AutoTokenizer", tokenizer, "tokenizer.json and tokenizer_config.json")
    padding = _padding(splitter, tokenizer)
    special = splitter.num_special_tokens_to_add(pair=bool(pairs))
    if max_length <= special:
        raise UserError(f"data.max_length: expected more than the {special} special tokens of a sample")
    found = splitter(
        list(texts), list(pairs) or None, truncation=True, max_length=max_length, return_attention_mask=False
    )
    for i, ids in enumerate(found["input_ids"]):
        if not ids:
            raise UserError(f"{place(i)}: has no token")
        if padding in ids:
            token = splitter.convert_ids_to_tokens(padding)
            raise UserError(f"{place(i)}: has the token {token}, with which short texts are filled up")
    samples = _filled(found["input_ids"], padding)
    if pairs and "token_type_ids" in found:
        samples = torch.stack([samples, _filled(found["token_type_ids"], 0)], dim=1)
    return Tokens(samples, len(splitter), padding)


def number(place: str, value: Any) -> float:
    """A label that is a number.

    Args:
        place: the file and the line, for the message.
        value: what stands there: a number, or text.

    Raises:
        UserError: it is no finite number.
    """
    try:
        found = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"{place}: expected a label that is a number, got {shown(value)}")
    return found


def _padding(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return found
    raise UserError(f"data.tokenizer: {name} has neither a padding token nor one for the end of a text")


def _filled(rows: list[list[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.int32) for row in rows], batch_first=True, padding_value=value)
