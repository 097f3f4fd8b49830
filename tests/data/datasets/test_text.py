"""Texts as tokens and classes, by hand on a vocabulary of a few words."""

from __future__ import annotations

import shutil

import language
import pytest
import torch
from later import later_or_skip

from gantrain.config.parts import build
from gantrain.data import Batches
from gantrain.data.datasets.text import Text
from gantrain.errors import UserError
from gantrain.runs.data_record import DataForm

later_or_skip("transformers")

PAD, UNKNOWN, CLS, SEP = range(4)
NUMBER = {word: i for i, word in enumerate(language.WORDS)}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return str(language.tokenizer(tmp_path_factory.mktemp("tokenizer")))


def file(folder, rows, name="train.jsonl"):
    return str(language.write(folder / name, rows))


def rows(*labels, text="the film"):
    return [{"text": text, "label": label} for label in labels]


def ids(*words):
    return [NUMBER[word] for word in words]


def test_samples_are_the_tokens_filled_up_to_the_longest(tmp_path, tokenizer):
    train = file(tmp_path, [{"text": "The film was fine", "label": 1}, {"text": "Xylophone!", "label": 0}])
    data = Text(train, tokenizer)
    assert data.samples.tolist() == [
        [CLS, *ids("the", "film", "was", "fine"), SEP],
        [CLS, UNKNOWN, UNKNOWN, SEP, PAD, PAD],
    ]
    assert data.labels.tolist() == [1, 0] and data.labels.dtype == torch.int64
    spec = data.spec
    assert (spec.shape, spec.classes, spec.vocabulary, spec.padding) == ((6,), 2, len(language.WORDS), PAD)
    decoded = data.decode(data.samples)
    assert decoded.dtype == torch.int64 == spec.zeros(2).dtype and torch.equal(decoded, data.samples.long())
    assert spec.zeros(2).shape == (2, 6)


def test_texts_are_cut_with_their_last_token_kept(tmp_path, tokenizer):
    data = Text(file(tmp_path, rows(0, 1, text="the film was fine")), tokenizer, max_length=4)
    assert data.samples.tolist() == [[CLS, *ids("the", "film"), SEP]] * 2


def test_pairs_carry_which_text_each_token_belongs_to(tmp_path, tokenizer):
    train = file(
        tmp_path,
        [{"q": "the end", "p": "a", "y": "no"}, {"q": "end", "p": "end", "y": "yes"}],
    )
    data = Text(train, tokenizer, text="q", text_pair="p", label="y")
    assert data.samples.tolist() == [
        [[CLS, *ids("the", "end"), SEP, *ids("a"), SEP], [0, 0, 0, 0, 1, 1]],
        [[CLS, *ids("end"), SEP, *ids("end"), SEP, PAD], [0, 0, 0, 1, 1, 0]],
    ]
    assert data.spec.shape == (2, 6) and data.spec.zeros(3).shape == (3, 2, 6)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 9, 10, -1], ("-1", "9", "10")),
        (["10", "9", "10", "b"], ("10", "9", "b")),
        (["neutral", "entailment"], ("entailment", "neutral")),
    ],
)
def test_classes_are_sorted_as_numbers_or_as_text(tmp_path, tokenizer, labels, classes):
    data = Text(file(tmp_path, rows(*labels)), tokenizer)
    assert data.classes == classes and data.spec.classes == len(classes)
    assert Batches(data, 2, 0).class_names == DataForm.of(data).class_names == classes
    assert [classes[i] for i in data.labels] == [str(label) for label in labels]


def test_held_out_rows_have_the_classes_of_the_training_file(tmp_path, tokenizer):
    """The held-out file lacks the first class, and would number the others otherwise."""
    train = file(tmp_path, rows("a", "b", "c"))
    test = file(tmp_path, rows("c", "b", text="a plot with music"), "test.jsonl")
    data = Text(train, tokenizer, test=test, split="test")
    assert data.classes == ("a", "b", "c") and data.labels.tolist() == [2, 1] and data.spec.classes == 3
    assert data.samples.shape == (2, 6)


def test_a_part_of_the_training_file_can_be_held_out_and_the_labels_of_the_rest_be_noisy(tmp_path, tokenizer):
    train = file(tmp_path, language.opinions(60, seed=0))
    whole = Text(train, tokenizer)
    noise = {"validation": 0.3, "label_noise": 0.5, "noise_seed": 1}
    kept, held = (Text(train, tokenizer, split=split, **noise) for split in ("train", "validation"))
    assert (len(kept.samples), len(held.samples)) == (42, 18) and kept.spec == held.spec == whole.spec
    original = {tuple(row): label for row, label in zip(whole.samples.tolist(), whole.labels.tolist(), strict=True)}
    assert {*map(tuple, kept.samples.tolist()), *map(tuple, held.samples.tolist())} == original.keys()
    assert held.labels.tolist() == [original[tuple(row)] for row in held.samples.tolist()]
    changed = sum(original[tuple(row)] != y for row, y in zip(kept.samples.tolist(), kept.labels.tolist(), strict=True))
    assert 2 <= changed <= 20


def test_a_tab_separated_file_as_of_glue_through_the_config(tmp_path, tokenizer):
    path = tmp_path / "train.tsv"
    path.write_text('index\tsentence1\tsentence2\tlabel\n0\tthe "film\ta plot\tentailment\n1\tend\tend\tnot\n')
    columns = {"text": "sentence1", "text_pair": "sentence2"}
    data = build("data", {"name": "text", "train": str(path), "tokenizer": tokenizer, **columns})
    assert data.samples[0, 0].tolist() == [CLS, NUMBER["the"], UNKNOWN, *ids("film"), SEP, *ids("a", "plot"), SEP]
    path.write_text("x\t1\t\tthe film\nx\t0\t\tthe end\n")
    data = build("data", {"name": "text", "train": str(path), "tokenizer": tokenizer, "text": 3, "label": 1})
    assert data.labels.tolist() == [1, 0] and data.samples.shape == (2, 4)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (rows(0, 1, 0.5), "train.jsonl:3: expected a label, a whole number or text, got 0.5"),
        (rows(0, 1, "0.5"), "train.jsonl:3: expected a label, a whole number or text, got '0.5'"),
        (rows(0, True), "train.jsonl:2: expected a label, a whole number or text, got true"),
        (rows(0, None), "train.jsonl:2: expected a label, a whole number or text, got null"),
        (rows(0, " "), "train.jsonl:2: expected a label, a whole number or text, got ' '"),
        (rows(0, 0), "train.jsonl: expected at least two different labels, got only '0'"),
        (rows(0) + rows(1, text=["the"]), r"train.jsonl:2: expected text, got \['the'\]"),
        (rows(0) + rows(1, text="a [PAD] b"), r"train.jsonl:2: has the token \[PAD\], with which short texts"),
    ],
)
def test_a_bad_row_is_named_with_its_file_and_line(tmp_path, tokenizer, broken, message):
    with pytest.raises(UserError, match=message) as error:
        Text(file(tmp_path, broken), tokenizer)
    assert "\n" not in str(error.value)


def test_a_class_that_training_does_not_know_is_refused(tmp_path, tokenizer):
    train, test = file(tmp_path, rows("a", "b")), file(tmp_path, rows("a", "c"), "test.jsonl")
    with pytest.raises(UserError, match=r"test\.jsonl:2: no row of .*train\.jsonl has the label 'c'$"):
        Text(train, tokenizer, test=test, split="test")
    with pytest.raises(UserError, match="data.split: test was asked for, but data.test names no file"):
        Text(train, tokenizer, split="test")


def test_a_text_without_a_token_is_refused_where_the_tokenizer_adds_none(tmp_path):
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0, "the": 1, "<end>": 2}, unk_token="?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="?")
    fast.save_pretrained(tmp_path / "words")
    spec = Text(file(tmp_path, rows(0, 1, text="the")), str(tmp_path / "words")).spec
    assert (spec.vocabulary, spec.padding) == (3, 2), "the end-of-text token fills up"
    with pytest.raises(UserError, match=r"train\.jsonl:2: has no token$"):
        Text(file(tmp_path, rows(0) + rows(1, text=" ")), str(tmp_path / "words"))
    fast.eos_token = None
    fast.save_pretrained(tmp_path / "words")
    with pytest.raises(UserError, match="words has neither a padding token nor one for the end of a text"):
        Text(file(tmp_path, rows(0, 1)), str(tmp_path / "words"))


def test_a_length_without_room_for_text_is_refused(tmp_path, tokenizer):
    with pytest.raises(UserError, match="data.max_length: expected more than the 2 special tokens of a sample"):
        Text(file(tmp_path, rows(0, 1)), tokenizer, max_length=2)


def test_a_broken_tokenizer_is_one_line(tmp_path, tokenizer):
    broken = tmp_path / "broken"
    shutil.copytree(tokenizer, broken)
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"^data.tokenizer: .*broken: expected a folder with tok") as error:
        Text(file(tmp_path, rows(0, 1)), str(broken))
    assert "\n" not in str(error.value)
