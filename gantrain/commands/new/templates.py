"""The texts of new configs. In a line, what follows a tab is its comment; comments of one section are aligned."""

from __future__ import annotations

import json
from typing import Any

import yaml

from gantrain.commands.new.choices import Choices
from gantrain.commands.new.images import Images
from gantrain.commands.new.machine import Machine

# Comments begin no further to the right than here.
_COLUMN = 64
# Up to so many images are all read once before the start, so that none can end the run later.
_SKIP = 20_000
# The features of the shipped classifier of photographs; the Fréchet distance of fewer images means little.
_FEATURES = 64
_WRITING = ("digits", "kmnist", "mnist", "svhn")
# What of a GAN's config depends on the device. On a GPU the networks are R3GAN's, with its loss and penalties.
_ON_CPU: dict[str, Any] = {
    "network": "conv",
    "loss": "non_saturating\t# or hinge, relativistic, least_squares, wasserstein, minimax",
    "penalties": ("r1",),
    "lazy": ", every: 8",
    "lr": "1.0e-3",
    "decay": 0.995,
    "log": 10,
    "samples": 50,
    "evaluate": 500,
    "checkpoint": 200,
}
_ON_GPU: dict[str, Any] = {
    "network": "r3gan, blocks: 1",
    "loss": "relativistic",
    "penalties": ("r1", "r2"),
    "lazy": "",
    "lr": "2.0e-4",
    "decay": 0.999,
    "log": 50,
    "samples": 500,
    "evaluate": 2000,
    "checkpoint": 2000,
}
_NOW = "DiffAugment: with few images the discriminator would learn them by heart."
_LATER = "DiffAugment, for when the discriminator learns the images by heart: its loss falls to 0, samples get worse."

QUICKSTART = """\
{title}
run:
  name: {name}\t# the run is kept in checkpoints/{plain}
  seed: 0\t# the same seed gives the same run, to the last bit
  steps: 3000
  threads: 1\t# networks this small are fastest with one thread
data:
  name: digits\t# comes with gantrain; no download
  size: 8
  batch_size: 64
game:
  name: gan
  conditional: true\t# both networks are told which digit; each column of a sample grid is one digit
  loss: non_saturating\t# or hinge, relativistic, least_squares, wasserstein, minimax
  penalties:
    - {{name: r1, weight: 0.5, every: 8}}\t# keeps the discriminator smooth; raise it if the samples flicker
  generator:
    model: {{name: conv, width: 32, latent_dim: 64, norm: none}}
    optimizer: {{name: adam, lr: 1.0e-3, betas: [0.0, 0.9]}}
  discriminator:
    model: {{name: conv, width: 32}}
    optimizer: {{name: adam, lr: 1.0e-3, betas: [0.0, 0.9]}}
    # sharpness: {{name: sampa, rho: 0.05}}\t# a sharpness-aware gradient, for either player
outer: {{name: gda, order: alternating}}\t# or extragradient, optimistic, rapp, lookahead
ema: {{decay: 0.995}}\t# samples come from this average of the generator's weights
log: {{every: 20}}
samples: {{every: 250, count: 100}}\t# grids in checkpoints/{plain}/samples
evaluate:
  every: 500
  metrics: [fid, prc]\t# Fréchet distance, precision and recall
  samples: 1797
  features: checkpoints/digits-classifier\t# comes with gantrain
checkpoint: {{every: 500, keep: 2}}
"""

GAN = """\
{title}
run:
  name: {name}\t# the run is kept in checkpoints/{plain}
  seed: 0\t# the same seed gives the same run, to the last bit
  steps: {steps}\t# --resume run.steps={twice} goes on with a finished run
{compute}
{data}
game:
  name: gan
  conditional: {conditional}
  loss: {loss}
  penalties: [{penalties}]\t# smooths the discriminator; raise the weight if samples collapse
  augmentations:{none}\t# of real and generated images alike, before the discriminator sees them{flip}
{diffaugment}
  generator:
    model: {generator}\t# a larger width learns more, and is slower
    # init: OTHER\t# begins with the weights of the run checkpoints/OTHER; say the same of the discriminator
    optimizer: &adam {{name: adam, lr: {lr}, betas: [0.0, 0.99]}}
  discriminator:
    model: {discriminator}
    optimizer: *adam
outer: {{name: gda, order: alternating}}\t# or extragradient, optimistic, rapp, lookahead
ema: {{decay: {decay}}}\t# samples come from this average of the generator's weights
log: {{every: {log}}}
samples: {{every: {samples}, count: {grid}}}\t# grids in checkpoints/{plain}/samples
{evaluate}
checkpoint: {{every: {checkpoint}, keep: 2}}\t# Ctrl-C writes one as well
"""

CLASSIFIER = """\
{title}
run:
  name: {name}\t# the run is kept in checkpoints/{plain}
  seed: 0\t# the same seed gives the same run, to the last bit
  steps: &steps {steps}
{compute}
{data}
game:
  name: classification
  label_smoothing: 0.1
  standardise: true\t# mean 0 and variance 1 in each channel, measured on the training images
  augmentations:
    - {{name: crop, padding: {padding}}}{flip}
  classifier:
    model: {classifier}
    optimizer: {{name: sgd, lr: {lr}, momentum: 0.9, weight_decay: 5.0e-4}}
    scheduler: {{name: cosineannealinglr, T_max: *steps}}\t# falls to 0 at the end of the run
    # sharpness: {{name: sampa, rho: 0.05, mix: 0.2}}\t# often better by a point, and twice the time
evaluate:
  every: {evaluate}
  data: {{split: validation}}\t# {held_out}
log: {{every: {log}}}
checkpoint: {{every: {evaluate}, keep: 2}}\t# beside these, the best one is kept in checkpoints/{plain}/best
"""

OWN_GAME = """\
{title}
run:
  name: {name}\t# the run is kept in checkpoints/{plain}
  seed: 0\t# the same seed gives the same run, to the last bit
  steps: 3000
{compute}
{data}
game:
  target: {module}:MyGame\t# the class in {module}.py; the keys below are the arguments of its constructor
  smooth: 0.1
  match: 1.0
  painter:\t# a section for each player, with model, optimizer, and sharpness or constraint
    model: {{target: {module}:Painter, width: 256}}
    optimizer: {{name: adam, lr: 1.0e-3, betas: [0.0, 0.9]}}
  critic:
    model: {{name: mlp, width: 256}}\t# or a class of your own, as above
    optimizer: {{name: adam, lr: 1.0e-3, betas: [0.0, 0.9]}}
outer: {{name: gda, order: alternating}}\t# or extragradient, optimistic, rapp, lookahead
ema: {{decay: 0.995}}\t# of the weights of the network that is evaluated, the painter
log: {{every: 20}}
samples: {{every: 100, count: 64}}\t# grids in checkpoints/{plain}/samples
checkpoint: {{every: 500, keep: 2}}
"""


def quickstart(name: str, file: str) -> str:
    """The config of a GAN on digits."""
    return _finished(QUICKSTART, name, file, ["A GAN on handwritten digits, in about a minute on two cores."])


def gan(name: str, images: Images, machine: Machine, choices: Choices, file: str) -> str:
    """The config of a GAN on images."""
    pace = _ON_GPU if choices.on_gpu else _ON_CPU
    penalties = ", ".join(f"{{name: {p}, weight: {choices.penalty}{pace['lazy']}}}" for p in pace["penalties"])
    network = f"name: {pace['network']}, width: {choices.width}"
    conditional = "false"
    if choices.conditional:
        conditional = "true\t# the networks are told the class; each column of a grid is one class"
    elif images.classes:
        conditional = "false\t# true lets the networks know the classes"
    return _finished(
        GAN,
        name,
        file,
        _about("A GAN on images of your own.", images, machine),
        steps=choices.steps,
        twice=2 * choices.steps,
        compute=_compute(machine),
        data=_data(images, choices),
        conditional=conditional,
        penalties=penalties,
        none="" if choices.few or _flip(images) else " []",
        flip=_flip(images),
        diffaugment=_diffaugment(choices),
        generator=f"{{{network}, latent_dim: 64}}",
        discriminator=f"{{{network}}}",
        grid=choices.grid,
        evaluate=_evaluate(images, machine, pace["evaluate"]),
        **{key: pace[key] for key in ("loss", "lr", "decay", "log", "samples", "checkpoint")},
    )


def _flip(images: Images) -> str:
    """The line of the augmentation flip; empty for writing."""
    if images.keys["name"] in _WRITING:
        return ""
    return "\n    - flip\t# leave it out where left and right differ, as in writing"


def _diffaugment(choices: Choices) -> str:
    """DiffAugment, on a CPU without its colours; as a comment where it is not needed yet."""
    if not choices.few:
        return f"    # {_LATER}\n    # - diffaugment"
    on_cpu = "{name: diffaugment, color: false}\t# with color a run begins more slowly"
    return f"    # {_NOW}\n    - {'diffaugment' if choices.on_gpu else on_cpu}"


def classifier(name: str, images: Images, machine: Machine, choices: Choices, file: str) -> str:
    """The config of a classifier of images."""
    held_out = "the part for validation"
    split = ""
    if "validation" not in images.parts:
        held_out, split = "the tenth that is held out of the training images", "\n  validation: 0.1\t# held out"
    model = f"{{name: conv, width: {choices.width}}}"
    if choices.on_gpu:
        model = "{name: wide_resnet, depth: 16, width: 4}"
    every = max(choices.steps // 10, 1)
    return _finished(
        CLASSIFIER,
        name,
        file,
        _about("A classifier of images of your own.", images, machine),
        steps=choices.steps,
        compute=_compute(machine),
        data=_data(images, choices) + "\n  split: train" + split,
        padding=max(choices.size // 8, 1),
        flip=_flip(images),
        classifier=model,
        lr="0.1",
        held_out=held_out,
        evaluate=every,
        log=max(every // 4, 1),
    )


def own_game(name: str, images: Images, machine: Machine, choices: Choices, file: str) -> str:
    """The config of a game of the user's own."""
    return _finished(
        OWN_GAME,
        name,
        file,
        _about(f"A game of your own, which is in {name}.py.", images, machine),
        compute=_compute(machine),
        data=_data(images, choices),
        module=name,
    )


def _about(title: str, images: Images, machine: Machine) -> list[str]:
    return [title, f"  data     {images.described()}", f"  machine  {machine.described()}"]


def _compute(machine: Machine) -> str:
    if machine.gpu:
        return "  tf32: true\t# faster products and convolutions\n  channels_last: true\t# faster convolutions"
    return "  threads: 1\t# networks this small are fastest with one thread"


def _data(images: Images, choices: Choices) -> str:
    lines = ["data:", *(f"  {key}: {_scalar(value)}" for key, value in images.keys.items())]
    pixels = f"  size: {choices.size}"
    if "path" in images.keys:
        lines.append(f"  channels: {images.channels}\t# 3 for colour, 1 for grey")
        skip = images.damaged or images.count <= _SKIP
        lines.append(f"  on_error: {'skip' if skip else 'stop'}\t# at an image that cannot be read: skip or stop")
        pixels += "\t# images are scaled to squares of this size, and their longer sides cut"
    return "\n".join([*lines, pixels, f"  batch_size: {choices.batch}"])


def _evaluate(images: Images, machine: Machine, every: int) -> str:
    """The section evaluate; as a comment where there are too few images for it."""
    head = f"evaluate:\n  every: {every}\n"
    if machine.inception and machine.gpu:
        samples = min(images.count, 10_000)
        subset = f"\n  subset_size: {max(samples // 2, 2)}" if samples < 2000 else ""
        kid = f"{head}  metrics: [kid]\n  samples: {samples}{subset}"
        return kid if images.count < 10_000 else f"{head}  metrics: [fid]\n  samples: {samples}"
    features = "digits-classifier" if images.keys["name"] == "digits" else "photos-classifier"
    papers = "inception gives FID, but takes minutes on a CPU"
    if not machine.inception:
        papers = "FID needs inception, see gantrain doctor"
    text = (
        f"{head}  metrics: [fid, prc]\t# Fréchet distance, precision and recall\n"
        f"  samples: {10_000 if machine.gpu else 1000}\n  features: {features}\t# comes with gantrain; {papers}"
    )
    if images.count > 10_000:
        text += "\n  data: {limit: 10000}\t# of the images, with which samples are compared; null takes all"
    if images.usable > _FEATURES:
        return text
    why = f"This measures the samples, and needs more than {_FEATURES} images."
    return "\n".join(f"# {line}" for line in [why, *text.splitlines()])


def _scalar(value: Any) -> str:
    """A value as YAML has it in a line."""
    text = yaml.safe_dump(value, allow_unicode=True, width=10**6).split("\n")[0]
    return text if yaml.safe_load(text) == value else json.dumps(value, ensure_ascii=False)


def _finished(template: str, name: str, file: str, about: list[str], **values: Any) -> str:
    commands = [
        f"  gantrain train {file}              Ctrl-C stops it with a checkpoint, --resume goes on",
        f"  gantrain train {file} KEY=VALUE    changes a key, as in run.name=other; gantrain schema has all keys",
    ]
    title = "\n".join(f"# {line}" for line in [*about, *commands])
    lines = template.format(title=title, name=_scalar(name), plain=name, **values).splitlines()
    column = min(max(len(line.partition("\t")[0]) for line in lines if "\t" in line) + 2, _COLUMN)
    parts = (line.partition("\t") for line in lines)
    return "".join(f"{code:<{column}}{comment}\n" if tab else f"{code}\n" for code, tab, comment in parts)
