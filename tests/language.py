"""Tiny language models and texts for tests, as files; nothing is downloaded."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import forked
import torch

GOOD = ["fine", "lovely", "brilliant", "moving"]
BAD = ["dull", "awful", "tedious", "clumsy"]
NEUTRAL = ["the", "a", "film", "plot", "actor", "scene", "was", "and", "with", "of", "music", "end"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *NEUTRAL]


def tokenizer(folder: Path) -> Path:
    """A folder with a WordPiece tokenizer of the words above, and the config of a tiny BERT without weights."""
    from transformers import BertConfig

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.1,
    )
    config.save_pretrained(folder)
    return folder


def bert(folder: Path) -> Path:
    """The same with the weights of the body, as after pretraining: the head is missing."""
    from transformers import BertConfig, BertModel

    tokenizer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


def opinions(count: int, seed: int) -> list[dict[str, str]]:
    """Reviews with one to three words of opinion, all of one kind, which is the label."""
    source = random.Random(seed)
    rows = []
    for i in range(count):
        opinion, label = ((GOOD, "positive"), (BAD, "negative"))[i % 2]
        words = source.choices(NEUTRAL, k=source.randint(3, 9)) + source.choices(opinion, k=source.randint(1, 3))
        source.shuffle(words)
        rows.append({"text": " ".join(words), "label": label})
    return rows


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    """The rows as a .jsonl or .tsv file."""
    if path.suffix == ".jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        lines = ["\t".join(rows[0])] + ["\t".join(row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def without_transformers(folder: str, arguments: tuple[str, ...], files: Sequence[str], environment: dict) -> None:
    """The command, in a process in which nothing has imported the package, and nothing can."""
    assert "transformers" not in sys.modules
    sys.modules["transformers"] = None
    forked.run_command(folder, arguments, files, environment)
