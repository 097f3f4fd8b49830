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
_LATER = "DiffAugment, for when the discriminator learns the images by heart: its loss falls to 0, samples get worse."

QUICKSTART = """\
# {title}
{commands}
run:
  name: {name}\t# the run is kept in checkpoints/{plain}
  seed: 0\t# the same seed gives the same run, to the last bit
  steps: 3000
  threads: 1\t# networks this small are fastest with one thread of the CPU
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
# {title}
{commands}
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
  augmentations:\t# of real and generated images alike, before the discriminator sees them
    - flip\t# leave it out where left and right differ, as in writing
{diffaugment}
  generator:
    model: {generator}\t# a larger width learns more, and is slower
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
# {title}
{commands}
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
# {title}
{commands}
run:
  name: {name}\t# the run is kept in checkpoints/{plain}
  seed: 0\t# the same seed gives the same run, to the last bit
  steps: 3000
{compute}
{data}
game:
  target: {module}:MyGame\t# the class in {module}.py; the keys below are the arguments of its constructor
  match: 1.0
  painter:\t# a section for each player, with model, optimizer, and sharpness or constraint
    model: {{target: {module}:Painter, width: 256}}
    optimizer: {{name: adam, lr: 5.0e-4, betas: [0.0, 0.9]}}
  critic:
    model: {{name: conv, width: 32, spectral_norm: true}}\t# or a class of your own, as above
    optimizer: {{name: adam, lr: 5.0e-4, betas: [0.0, 0.9]}}
outer: {{name: extragradient}}\t# or gda, optimistic, rapp, lookahead
ema: {{decay: 0.99}}\t# of the weights of the network that is evaluated, the painter
log: {{every: 20}}
samples: {{every: 100, count: 64}}\t# grids in checkpoints/{plain}/samples
checkpoint: {{every: 500, keep: 2}}
"""


def quickstart(name: str, file: str) -> str:
    """The config of a GAN on digits."""
    title = "A GAN on handwritten digits, in about a minute on two cores."
    return _finished(QUICKSTART, name, file, title=title)


def gan(name: str, images: Images, machine: Machine, choices: Choices, file: str) -> str:
    """The config of a GAN on images."""
    gpu, size = choices.on_gpu, choices.size
    evaluate, samples = (2000, 500) if gpu else (500, 50)
    model = "r3gan" if gpu else "conv"
    extra = ", blocks: 1" if gpu else ""
    penalties = f"{{name: r1, weight: {choices.penalty}, every: 8}}"
    if gpu:
        penalties = f"{{name: r1, weight: {choices.penalty}}}, {{name: r2, weight: {choices.penalty}}}"
    augmentations = [
        "color",
        f"{{name: crop, padding: {max(size // 8, 1)}, fill: 0.0}}",
        f"{{name: cutout, size: {size // 2}}}",
    ]
    why = "DiffAugment: with few images the discriminator would learn them by heart." if choices.few else _LATER
    mark = "- " if choices.few else "# - "
    diffaugment = "\n".join([f"    # {why}", *(f"    {mark}{augmentation}" for augmentation in augmentations)])
    conditional = "false"
    if choices.conditional:
        conditional = "true\t# the networks are told the class; each column of a grid is one class"
    elif images.classes:
        conditional = "false\t# true lets the networks know the classes"
    return _finished(
        GAN,
        name,
        file,
        title=f"A GAN on {images.described()}. Written for: {machine.described()}.",
        steps=choices.steps,
        twice=2 * choices.steps,
        compute=_compute(machine),
        data=_data(images, choices),
        conditional=conditional,
        loss="relativistic" if gpu else "non_saturating\t# or hinge, relativistic, least_squares, wasserstein, minimax",
        penalties=penalties,
        diffaugment=diffaugment,
        generator=f"{{name: {model}, width: {choices.width}{extra}, latent_dim: 64}}",
        discriminator=f"{{name: {model}, width: {choices.width}{extra}}}",
        lr="2.0e-4" if gpu else "1.0e-3",
        decay=0.999 if gpu else 0.995,
        log=50 if gpu else 10,
        samples=samples,
        grid=choices.grid,
        evaluate=_evaluate(images, machine, evaluate),
        checkpoint=2000 if gpu else 200,
    )


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
    digits = images.keys["name"] == "digits"
    flip = "\n    - flip\t# leave it out where left and right differ, as in writing"
    return _finished(
        CLASSIFIER,
        name,
        file,
        title=f"A classifier of {images.described()}. Written for: {machine.described()}.",
        steps=choices.steps,
        compute=_compute(machine),
        data=_data(images, choices) + "\n  split: train" + split,
        padding=max(choices.size // 8, 1),
        flip="" if digits else flip,
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
        title=f"A game of your own, which lies in {name}.py. Written for: {machine.described()}.",
        compute=_compute(machine),
        data=_data(images, choices),
        module=name,
    )


def _compute(machine: Machine) -> str:
    if machine.gpu:
        return "  tf32: true\t# faster products and convolutions\n  channels_last: true\t# faster convolutions"
    return "  threads: 1\t# networks this small are fastest with one thread of the CPU; try more on many idle cores"


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
    samples = min(images.count, 10_000)
    metric = "fid" if images.count >= 10_000 else "kid"
    subset = f"\n  subset_size: {samples // 2}" if metric == "kid" and samples < 2000 else ""
    text = f"evaluate:\n  every: {every}\n  metrics: [{metric}]\n  samples: {samples}{subset}"
    if machine.inception and machine.gpu:
        return text
    why = (
        "which takes minutes on a CPU."
        if machine.inception
        else "whose weights are not here: gantrain doctor says where to put them."
    )
    return "\n".join(f"# {line}" for line in [f"This measures the samples by InceptionV3, {why}", *text.splitlines()])


def _scalar(value: Any) -> str:
    """A value as YAML has it in a line."""
    text = yaml.safe_dump(value, allow_unicode=True, width=10**6).split("\n")[0]
    return text if yaml.safe_load(text) == value else json.dumps(value, ensure_ascii=False)


def _finished(template: str, name: str, file: str, **values: Any) -> str:
    commands = f"""\
#   gantrain train {file}              Ctrl-C stops it with a checkpoint; --resume goes on
#   gantrain train {file} KEY=VALUE    changes a key, as in run.name=other run.seed=1; gantrain schema has all"""
    lines = template.format(name=_scalar(name), plain=name, commands=commands, **values).splitlines()
    column = min(max(len(line.partition("\t")[0]) for line in lines if "\t" in line) + 2, _COLUMN)
    parts = (line.partition("\t") for line in lines)
    return "".join(f"{code:<{column}}{comment}".rstrip() + "\n" if tab else f"{code}\n" for code, tab, comment in parts)
