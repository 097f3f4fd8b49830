"""The numbers that fit images and a machine: sizes, networks, batches, lengths, and the reasons for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gantrain.commands import r1_weight
from gantrain.commands.new.images import Images
from gantrain.commands.new.machine import Machine

SIZES = (8, 16, 32, 64, 128, 256)
# A CPU trains on images of at most this size while somebody waits.
_CPU_SIZE = 32
# Images are enlarged by at most this factor.
_ENLARGED = 1.25
_REACHED = "that nine of ten images reach"
_SMALLEST = "the smallest that the networks make, though the images are smaller"
# A GPU run sees ten times as many images as one on a CPU, and so comes to know more of them by heart.
_FEW, _FEW_ON_GPU = 2000, 20_000
# So many images of a class let a GAN learn the class by itself.
_ENOUGH = 50
# Memory of the GAN's networks on a GPU in GiB for each image of a batch: measured at the width 256, and half as much
# again. What torch itself takes comes on top.
_GIB_PER_IMAGE = {8: 0.03, 16: 0.05, 32: 0.09, 64: 0.17, 128: 0.36, 256: 0.75}
_GIB_OF_TORCH = 1.0
_GPU_WIDTH = 256
# R3GAN's weights of its penalties in their published runs, which grow with the number of pixels.
_R3GAN_WEIGHTS = {8: 0.05, 16: 0.05, 32: 0.05, 64: 1.0, 128: 5.0, 256: 15.0}


@dataclass(frozen=True)
class Choices:
    """What was chosen.

    Attributes:
        size: the height and width of the images in pixels.
        batch: the size of a batch.
        width: the width of the networks.
        steps: the length of the run.
        on_gpu: whether the choice is for a GPU.
        penalty: the weight of the discriminator's penalties.
        few: whether there are so few images that the discriminator would learn them by heart.
        conditional: whether the networks are told the classes.
        grid: the number of samples in a grid; with classes, each column is one of them.
        reasons: a line for each choice that needs one.
    """

    size: int
    batch: int
    width: int
    steps: int
    on_gpu: bool
    penalty: float = 1.0
    few: bool = False
    conditional: bool = False
    grid: int = 64
    reasons: tuple[str, ...] = field(default=())


def are_few(images: Images, machine: Machine) -> bool:
    """Whether a GAN for few images is the better one to begin with."""
    return images.count < (_FEW_ON_GPU if machine.gpu else _FEW)


def for_gan(images: Images, machine: Machine, few: bool) -> Choices:
    """What is chosen for a GAN.

    Args:
        images: the images.
        machine: the machine.
        few: whether DiffAugment is wanted.
    """
    fits = [size for size in SIZES if size <= _ENLARGED * images.typical_side] or [SIZES[0]]
    if machine.gpu:
        free = machine.gpu_memory - _GIB_OF_TORCH
        afforded = [size for size in fits if 32 * _GIB_PER_IMAGE[size] <= free] or [fits[0]]
        size = afforded[-1]
        batch = next((batch for batch in (64, 32, 16) if batch * _GIB_PER_IMAGE[size] <= free), 8)
        width, steps, penalty = _GPU_WIDTH, 3_200_000 // batch, _R3GAN_WEIGHTS[size]
    else:
        size = [size for size in fits if size <= _CPU_SIZE][-1]
        batch, width, steps, penalty = 16, 24, 10_000, 1.0
    batch = min(batch, images.usable)
    reasons = []
    bound = f"the largest for which there is time on a CPU; data.size={2 * size} takes about four times as long"
    if machine.gpu:
        bound = "the largest that fits into the GPU's memory"
    if size == fits[-1]:
        bound = f"the largest {_REACHED}" if size <= images.typical_side * _ENLARGED else _SMALLEST
    reasons.append(f"size {size}: {bound}")
    reasons.append(f"penalty weight {penalty:g}; with other networks {r1_weight.in_words(size, size, batch)}")
    seen = steps * batch / images.count
    if few != are_few(images, machine):
        number = "many" if few else "few, and may be learnt by heart"
        wanted = "DiffAugment: few-photos was asked for" if few else "no DiffAugment: photos was asked for"
        reasons.append(f"{wanted}, though {images.count} images are {number}; each is seen {seen:.0f} times")
    elif few:
        reasons.append(f"DiffAugment: each image is seen {seen:.0f} times, and would be learnt by heart")
    else:
        why = f"{images.count} images are many" if not are_few(images, machine) else "--from photos was chosen"
        reasons.append(f"no DiffAugment: {why}; each is seen {seen:.0f} times")
    smallest = min(images.classes.values(), default=0)
    conditional = len(images.classes) > 1 and smallest >= _ENOUGH
    if conditional:
        reasons.append(f"conditional: every class has at least {smallest} images")
    elif len(images.classes) > 1:
        reasons.append(f"not conditional: a class has only {smallest} images, and {_ENOUGH} are needed")
    grid = _grid(len(images.classes)) if conditional else 64
    return Choices(size, batch, width, steps, bool(machine.gpu), penalty, few, conditional, grid, tuple(reasons))


def for_own_game(images: Images, chosen: Choices) -> Choices:
    """What is chosen for the game of the template, whose networks are dense and so best at small images."""
    return replace(
        chosen, size=min(chosen.size, 32), batch=min(64, images.usable), conditional=False, grid=64, reasons=()
    )


def for_classifier(images: Images, machine: Machine) -> Choices:
    """What is chosen for a classifier."""
    least = [size for size in SIZES if size <= _ENLARGED * images.typical_side] or [SIZES[0]]
    bound = 64 if machine.gpu else _CPU_SIZE
    size = [size for size in least if size <= bound][-1]
    batch = 128 if machine.gpu else 32 if images.count < 1000 else 64
    # A tenth may be held out.
    batch = max(min(batch, int(0.9 * images.usable)), 1)
    # At least as many steps as batch norm and the schedule need; on a CPU at most a few minutes.
    epochs = 100 if machine.gpu else 40
    steps = max(500, epochs * images.count // batch)
    steps = steps if machine.gpu else min(steps, 2000)
    passes = steps * batch / images.count
    reached = size <= images.typical_side * _ENLARGED
    why = f"the largest of at most {bound} pixels {_REACHED}" if reached else _SMALLEST
    reasons = (f"size {size}: {why}", f"{steps} steps: each image is seen about {passes:.0f} times")
    return Choices(size, batch, 64 if machine.gpu else 16, steps, bool(machine.gpu), reasons=reasons)


def _grid(classes: int) -> int:
    """The number of samples of a square grid whose columns are classes; 64 for more classes than a grid shows."""
    if classes > 16:
        return 64
    columns = next(n for n in range(8, 17) if n % classes == 0)
    return columns**2
