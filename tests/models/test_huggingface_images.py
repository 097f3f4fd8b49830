"""Image classifiers of transformers: what reaches the network, where its weights come from, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from later import later_or_skip

from gantrain.commands.train import train
from gantrain.config.loading import load
from gantrain.data.pixels import decode
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models import HuggingFaceImageClassifier
from gantrain.runs import checkpoint

transformers = later_or_skip("transformers")

SPEC = DataSpec((3, 20, 20), classes=5)
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.25, 0.4]


def vit(folder, head=True, processor=True, **changes):
    """A folder with a tiny ViT for images of 32 x 32, and its image processor."""
    config = transformers.ViTConfig(**(SMALL | {"image_size": 32, "patch_size": 16, "num_labels": 5} | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        (transformers.ViTForImageClassification if head else transformers.ViTModel)(config).save_pretrained(folder)
    if processor:
        size = {"height": 32, "width": 32}
        transformers.ViTImageProcessor(size=size, image_mean=MEAN, image_std=STD).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vit(tmp_path_factory.mktemp("vit"))


def seeded(seed, *arguments, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HuggingFaceImageClassifier(*arguments, **options)


def seen(model, images):
    """What the network of transformers is given for uint8 images."""
    given = []
    handle = model.network.register_forward_pre_hook(
        lambda module, args, options: given.append(options[module.main_input_name]), with_kwargs=True
    )
    model(decode(images))
    handle.remove()
    return given[0]


def images(count, channels=3, side=20):
    shape = (count, channels, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("resample", [2, 3])
def test_the_network_gets_what_the_image_processor_makes(tmp_path, resample):
    vit(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resample": resample}))
    model = HuggingFaceImageClassifier(SPEC, str(tmp_path))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    for side in (20, 32, 50):
        made = processor(list(images(4, side=side)), return_tensors="pt")["pixel_values"]
        one_level = 1 / 255 / min(STD)  # the processor rounds to whole levels
        torch.testing.assert_close(seen(model, images(4, side=side)), made, rtol=0, atol=2.01 * one_level)


def test_the_order_of_the_channels_is_the_image_processors(tmp_path):
    vit(tmp_path, processor=False)
    transformers.MobileViTImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(tmp_path)
    model = HuggingFaceImageClassifier(SPEC, str(tmp_path))
    assert model.order == [2, 1, 0]
    torch.testing.assert_close(seen(model, images(2, side=32)), images(2, side=32).flip(1) / 255)


def test_stated_values_take_the_place_of_a_processor(tmp_path):
    name = vit(tmp_path, processor=False)
    model = HuggingFaceImageClassifier(SPEC, name, mean=MEAN, std=STD)
    assert model.size == (32, 32), "of config.json"
    same = (images(2, side=32) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(seen(model, images(2, side=32)), same)
    wide = HuggingFaceImageClassifier(SPEC, name, size=[32, 48], mean=MEAN, std=STD)
    assert seen(wide, images(2)).shape == (2, 3, 32, 48), "with interpolated position embeddings"
    with pytest.raises(UserError, match="expected a folder with preprocessor_config.json; without it, say mean and"):
        HuggingFaceImageClassifier(SPEC, name)


def test_grey_images_are_repeated(folder):
    given = seen(HuggingFaceImageClassifier(DataSpec((1, 32, 32), 5), folder), images(2, 1, 32))
    plain = given * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    torch.testing.assert_close(plain, (images(2, 1, 32) / 255).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("classes", [5, 7])
@pytest.mark.parametrize("head", [True, False])
def test_the_head_is_kept_where_it_fits_and_drawn_where_it_does_not(tmp_path, classes, head):
    name, spec = vit(tmp_path, head), DataSpec((3, 20, 20), classes)
    one, other = (seeded(seed, spec, name).network for seed in (0, 1))
    weights = [network.state_dict() for network in (one, other)]
    body = next(k for k in weights[0] if "patch_embeddings" in k and k.endswith("weight"))
    assert torch.equal(weights[0][body], weights[1][body])
    assert one.classifier.weight.shape == (classes, 8) and one.training
    assert torch.equal(one.classifier.weight, other.classifier.weight) == (head and classes == 5)


def test_from_scratch_no_weights_need_exist(tmp_path):
    name = vit(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    one, same, other = (seeded(seed, SPEC, name, pretrained=False).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one) and not all(torch.equal(one[k], other[k]) for k in one)
    with pytest.raises(UserError, match="expected a folder with config.json and model.safetensors"):
        HuggingFaceImageClassifier(SPEC, name)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (DataSpec((8,), 3, 30, 0), {}, "takes images, and these data are texts; use huggingface"),
        (DataSpec((4, 20, 20), 5), {}, "takes images of 3 channels, and these data have 4; set data.channels"),
        (SPEC, {"mean": MEAN}, "expected both mean and std, or neither"),
        (SPEC, {"mean": [0.5], "std": [0.5]}, "mean: expected 3 numbers, one for each channel, got 1"),
        (SPEC, {"mean": MEAN, "std": [0.5, 0.0, 0.5]}, "std: expected numbers above 0"),
    ],
)
def test_what_does_not_fit_is_refused(folder, spec, options, message):
    with pytest.raises(UserError, match=f"^model huggingface_images: .*{message}") as error:
        HuggingFaceImageClassifier(spec, folder, **options)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_those_of_the_config_are_refused(tmp_path):
    name = vit(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 16}))
    with pytest.raises(UserError, match="of the weights that its config.json describes are not in its files, or have"):
        HuggingFaceImageClassifier(SPEC, name)


def test_a_network_for_something_else_is_one_line(tmp_path):
    transformers.BertConfig().save_pretrained(tmp_path)
    for pretrained in (True, False):
        with pytest.raises(UserError, match="^model huggingface_images: ") as error:
            HuggingFaceImageClassifier(SPEC, str(tmp_path), pretrained, mean=MEAN, std=STD)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_run_is_resumed_to_the_last_bit_with_dropout_and_sampa(tmp_path):
    keys = {"data": "{name: digits, batch_size: 16}", "evaluate.every": 1000, "run.folder": tmp_path / "runs"}
    keys |= {"game.classifier.model.checkpoint": vit(tmp_path / "vit", hidden_dropout_prob=0.1), "run.device": "cpu"}
    keys |= {"game.augmentations": "[]", "log.every": 1}

    def run(name, steps, **more):
        changes = [f"{key}={value}" for key, value in (keys | {"run.name": name, "run.steps": steps}).items()]
        return train(load("configs/sampa/vit_b16_cifar10.yaml", changes), **more)

    whole = run("whole", 4)
    run("halves", 2)
    halves = run("halves", 4, resume=True)
    (_, one), (_, two) = (checkpoint.load(checkpoint.newest(folder)) for folder in (whole, halves))
    assert all(torch.equal(one["classifier"][key], two["classifier"][key]) for key in one["classifier"])
    assert not {"scale", "shift"} & one["classifier"].keys(), "they are those of the files"
