"""Sequence classifiers: what reaches the model, where its weights come from, and which models are refused."""

from __future__ import annotations

import json

import language
import pytest
import torch
from later import later_or_skip

from gantrain.compute.modes import eval_mode
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models import HuggingFace

transformers = later_or_skip("transformers")

VOCABULARY = len(language.WORDS)
SPEC = DataSpec((8,), classes=3, vocabulary=VOCABULARY, padding=0)
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
BERTS = SMALL | {"intermediate_size": 16, "max_position_embeddings": 24}
# Models that differ in how they take padding, positions and token types; the last four have no padding token.
FAMILIES = {
    "bert": ("BertConfig", BERTS),
    "roberta": ("RobertaConfig", BERTS | {"pad_token_id": 0, "type_vocab_size": 1}),
    "distilbert": (
        "DistilBertConfig",
        {"vocab_size": VOCABULARY, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16},
    ),
    "albert": ("AlbertConfig", BERTS | {"embedding_size": 8}),
    "deberta": ("DebertaV2Config", BERTS),
    "gpt2": ("GPT2Config", {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24}),
    "llama": ("LlamaConfig", BERTS),
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(language.bert(tmp_path_factory.mktemp("bert")))


def seeded(seed, *arguments, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HuggingFace(*arguments, **options)


def family(folder, name):
    config, options = FAMILIES[name]
    getattr(transformers, config)(**options).save_pretrained(folder)
    network = seeded(0, SPEC, str(folder), pretrained=False)
    with torch.no_grad():
        for i, p in enumerate(network.parameters()):  # far enough from zero for every input to count
            p += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i))
    return network


def texts(*lengths, width=8):
    source = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, VOCABULARY, (len(lengths), width), generator=source)
    for row, length in zip(tokens, lengths, strict=True):
        row[length:] = 0
    return tokens


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_does_not_change_the_logits(tmp_path, name):
    network, tokens = family(tmp_path, name), texts(8, 3, 5)
    assert network(tokens).shape == (3, 3)
    assert network(SPEC.zeros(2)).shape == (2, 3), "all padding"
    with eval_mode(network), torch.no_grad():
        together = network(tokens)
        alone = torch.cat([network(row[None, :length]) for row, length in zip(tokens, (8, 3, 5), strict=True)])
        wide = network(torch.nn.functional.pad(tokens, (0, 7)))
        unmasked = network.network(input_ids=tokens).logits
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert torch.equal(together, wide), "shared padding is cut off"
    if name not in ("gpt2", "llama"):
        assert not torch.allclose(together, unmasked, atol=1e-4), "and without a mask it would"


@pytest.mark.parametrize("name", FAMILIES)
def test_token_types_reach_models_that_have_them(tmp_path, name):
    network, tokens = family(tmp_path, name), texts(8, 6)
    types = (torch.arange(8) > 3).long().expand(2, 8)
    with eval_mode(network), torch.no_grad():
        plain = network(tokens)
        marked = network(torch.stack([tokens, types], dim=1))
        zero = network(torch.stack([tokens, torch.zeros_like(types)], dim=1))
    assert torch.equal(plain, zero)
    assert torch.equal(plain, marked) == (name not in ("bert", "albert"))


def test_the_logits_are_those_of_transformers(bert):
    network, tokens = seeded(0, SPEC, bert), texts(8, 3)
    with eval_mode(network), torch.no_grad():
        expected = network.network(input_ids=tokens, attention_mask=(tokens != 0).long()).logits
        torch.testing.assert_close(network(tokens), expected)


def test_pretrained_weights_are_taken_and_the_head_follows_the_seed(bert):
    stored = transformers.BertModel.from_pretrained(bert).state_dict()
    one, same, other = (seeded(seed, SPEC, bert).network for seed in (0, 0, 1))
    assert all(torch.equal(one.bert.state_dict()[key], value) for key, value in stored.items())
    assert torch.equal(one.classifier.weight, same.classifier.weight) and one.classifier.weight.shape == (3, 32)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert one.training and one.bert.training, "dropout is on"
    assert not torch.equal(one(texts(8)).logits, one(texts(8)).logits)


def test_from_scratch_all_weights_follow_the_seed_and_none_need_exist(tmp_path):
    folder = str(language.tokenizer(tmp_path))
    one, same, other = (seeded(seed, SPEC, folder, pretrained=False).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(*(s["network.bert.embeddings.word_embeddings.weight"] for s in (one, other)))
    with pytest.raises(UserError, match=r"checkpoint: .*: expected a folder with config.json and model.safetensors \("):
        HuggingFace(SPEC, folder)


def test_half_precision_weights_become_float32(tmp_path):
    language.bert(tmp_path)
    transformers.BertModel.from_pretrained(tmp_path).to(torch.bfloat16).save_pretrained(tmp_path)
    assert {p.dtype for p in HuggingFace(SPEC, str(tmp_path)).parameters()} == {torch.float32}


def test_a_masked_language_model_without_pooler_is_a_body(tmp_path):
    language.tokenizer(tmp_path)
    config = transformers.BertConfig.from_pretrained(tmp_path)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    network = HuggingFace(SPEC, str(tmp_path)).network
    stored = transformers.BertForMaskedLM.from_pretrained(tmp_path).bert.embeddings.word_embeddings.weight
    assert torch.equal(network.bert.embeddings.word_embeddings.weight, stored)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DataSpec((1, 8, 8), 3), "reads texts, as of the data set text, and these data are numbers"),
        (DataSpec((8,), 3, VOCABULARY + 1, 0), f"knows {VOCABULARY} tokens, the data have {VOCABULARY + 1}; use the"),
        (DataSpec((8,), 3, VOCABULARY, 1), "fills up texts with token 0, the data with 1; use the model's own"),
        (DataSpec((25,), 3, VOCABULARY, 0), "takes texts of at most 24 tokens, got one of 25; lower data.max_length"),
    ],
)
def test_data_that_do_not_fit_are_refused(bert, spec, message):
    with pytest.raises(UserError, match=f"^model huggingface: .*{message}"):
        HuggingFace(spec, bert)


def test_longer_held_out_texts_than_the_model_takes_are_refused_not_crashed_on(tmp_path):
    """RoBERTa loses as many positions as its padding token's number, and one."""
    network = family(tmp_path, "roberta")
    assert network(texts(23, width=23)).shape == (1, 3)
    with pytest.raises(UserError, match="at most 23 tokens, got one of 24"):
        network(texts(24, width=24))


@pytest.mark.parametrize("classes", [3, 5])
def test_the_head_is_kept_where_it_fits_and_drawn_where_it_is_of_other_classes(tmp_path, classes):
    language.tokenizer(tmp_path)
    config = transformers.BertConfig.from_pretrained(tmp_path, num_labels=classes)
    stored = transformers.BertForSequenceClassification(config)
    stored.save_pretrained(tmp_path)
    one, same, other = (seeded(seed, SPEC, str(tmp_path)).network for seed in (0, 0, 1))
    assert torch.equal(one.bert.pooler.dense.weight, stored.bert.pooler.dense.weight)
    assert one.classifier.weight.shape == (3, 32) and torch.equal(one.classifier.weight, same.classifier.weight)
    assert torch.equal(one.classifier.weight, other.classifier.weight) == (classes == 3)
    assert one.classifier.weight.std() > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 2}, r"16 of the weights .* not in its files, .* bert\.encoder\.layer\.1\.\S* for one$"),
        ({"intermediate_size": 64}, r"3 of the weights .* another shape there, bert\.encoder\.layer\.0\.\S* for one$"),
    ],
)
def test_weights_that_are_not_those_of_the_config_are_refused(tmp_path, change, message):
    language.bert(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message):
        HuggingFace(SPEC, str(tmp_path))


def test_damaged_weights_are_one_line(tmp_path):
    language.bert(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="expected a folder with config.json and model.safetensors") as error:
        HuggingFace(SPEC, str(tmp_path))
    assert "\n" not in str(error.value)


def test_encoder_decoders_are_refused(tmp_path):
    transformers.BartConfig(vocab_size=VOCABULARY, d_model=16).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is an encoder-decoder; choose an encoder or a decoder alone"):
        HuggingFace(SPEC, str(tmp_path), pretrained=False)


def test_pickled_weights_are_refused(tmp_path):
    language.bert(tmp_path)
    torch.save(transformers.BertModel.from_pretrained(tmp_path).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="expected a folder with config.json and model.safetensors"):
        HuggingFace(SPEC, str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    language.bert(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match="model huggingface: checkpoint: "):
        HuggingFace(SPEC, str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_of_the_hub_is_code_too(tmp_path, key):
    language.bert(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: "evil/kernel"}))
    for pretrained in (True, False):
        with pytest.raises(UserError, match="checkpoint: .* names the kernel 'evil/kernel', which is code of the"):
            HuggingFace(SPEC, str(tmp_path), pretrained)
