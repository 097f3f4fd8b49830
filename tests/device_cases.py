"""Short runs of every part, for tests to train on the CPU, on an emulated device and on a GPU."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from tiny import DIGITS, RING, config_of, rows, state

from gantrain.commands.train import make_trainer
from gantrain.data.dataset import DataSet
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.spec import DataSpec

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
FEATURES = ROOT / "checkpoints/digits-classifier"
GAMES = ROOT / "configs/games"

PLAYERS = ("generator", "discriminator")
RAPP = "outer={name: rapp, inner_steps: 3}"
ALTERNATING = "outer={name: gda, order: alternating}"


class Points(DataSet):
    """Fifty points with a number each."""

    def __init__(self) -> None:
        points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        super().__init__(points, points.square().sum(1), DataSpec((3,), classes=1, numeric=True))


class Colours(ImageSet):
    """Forty colour images of four classes."""

    def __init__(self) -> None:
        images = torch.randint(256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        super().__init__(images, torch.arange(40) % 4, 4)


def both(setting: str) -> tuple[str, ...]:
    return tuple(f"game.{player}.{setting}" for player in PLAYERS)


def sharp(setting: str) -> tuple[str, ...]:
    return both(f"sharpness={{{setting}}}")


def images(name: str, generator: str = "", discriminator: str = "") -> tuple[str, ...]:
    return (
        f"game.generator.model={{name: {name}, latent_dim: 4, width: 4{generator}}}",
        f"game.discriminator.model={{name: {name}, width: 4{discriminator}}}",
    )


SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9}


def classifying(game: str, model: dict[str, Any], size: int = 8, **more: Any) -> dict[str, Any]:
    """The base of a run on labelled digits."""
    base = {key: value for key, value in DIGITS.items() if key not in ("game", "samples", "ema")}
    base["data"] = {"name": "digits", "batch_size": 8, "size": size}
    return base | {"game": {"name": game, "classifier": {"model": model, "optimizer": SGD}, **more}}


DOMAINS = classifying(
    "domain_adversarial",
    {"name": "conv", "width": 4},
    target_data={"name": "digits", "shift": 1},
    domain_classifier={"model": {"name": "mlp", "width": 8, "spectral_norm": True}, "optimizer": SGD},
)

# The tests that everybody runs; each of them takes several parts at once.
FEW = {
    "gda": (RING,),
    "a bit of everything": (
        *(DIGITS, "outer={name: rapp, inner_steps: 2}", "run.steps=2", "data.accumulation=2"),
        *("game.conditional=true", *sharp("name: sam, direction: random")),
        *("game.penalties=[{name: r1, weight: 1.0, every: 2}]", "game.augmentations=[flip, cutout, color, crop]"),
    ),
    "bf16": (DIGITS, "outer={name: lookahead, base: extragradient}", "run.precision=bf16"),
    "fp16": (RING, "run.precision=fp16", *sharp("name: sampa, climb: tanh")),
    "constraints": (RING, "outer={name: ceg_plus, adaptive: true}", *both("constraint={name: simplex, total: 20.0}")),
}

MANY = {
    # Loops.
    "alternating": (DIGITS, ALTERNATING),
    "critic steps": (DIGITS, "outer={name: gda, critic_steps: 3, samples: same}"),
    "extragradient": (DIGITS, "outer=extragradient", "game.penalties=[r1, r2, wgan_gp]"),
    "extragradient alternating": (DIGITS, "outer={name: extragradient, order: alternating, samples: same}"),
    "eg plus": (DIGITS, "outer={name: extragradient_plus, relaxation: 0.4}"),
    "rapp": (DIGITS, RAPP),
    "optimistic": (DIGITS, "outer=optimistic"),
    "extragradient critic steps": (DIGITS, "outer={name: extragradient, critic_steps: 2}"),
    "optimistic critic steps": (DIGITS, "outer={name: optimistic, critic_steps: 2}"),
    "lookahead twice": (
        *(DIGITS, "outer={name: lookahead, inner_steps: 2, base: {name: lookahead, inner_steps: 2, base: gda}}"),
        "run.steps=5",
    ),
    "ceg plus": (RING, "outer=ceg_plus"),
    "anchored": (RING, "outer=anchored_extragradient", *both("optimizer={name: sgd, lr: 0.1}")),
    "fast": (
        *(RING, "outer={name: fast_extragradient, comonotonicity: -0.01}", *both("optimizer={name: sgd, lr: 0.1}")),
        *both("constraint={name: l2_ball, radius: 2.0}"),
    ),
    "rampage": (DIGITS, "outer=rampage"),
    "rampage plus": (DIGITS, "outer={name: rampage, antithetic: true, relaxation: 0.5}"),
    "corrected": (
        *(RING, "outer={name: corrected_proximal_point, comonotonicity: -0.01}"),
        *both("optimizer={name: sgd, lr: 0.1}"),
        *both("constraint={name: l2_ball, radius: 2.0}"),
    ),
    "line search": (
        *(RING, "outer={name: ceg_plus, curvature: true}", *both("optimizer={name: sgd, lr: 0.1}")),
        *both("constraint={name: l2_ball, radius: 2.0}"),
    ),
    # Oracles.
    "sam": (DIGITS, *sharp("name: sam, rho: 0.1")),
    "asam": (DIGITS, *sharp("name: sam, geometry: elementwise")),
    "bisam": (DIGITS, *sharp("name: sam, climb: log, ascent: global"), "data.accumulation=2"),
    "optsam": (DIGITS, *sharp("name: sam, direction: previous")),
    "randsam": (DIGITS, *sharp("name: sam, direction: random")),
    "msam": (DIGITS, *sharp("name: sam, direction: momentum")),
    "looksam": (DIGITS, *sharp("name: sam, direction: friendly, every: 2, other_batch: true")),
    "sampa": (DIGITS, *sharp("name: sampa, cosine: true, direction: smoothed"), RAPP),
    "local sampa": (DIGITS, *sharp("name: sampa, climb: log, ascent: local"), "data.accumulation=2"),
    "gsam": (DIGITS, *sharp("name: gsam")),
    "esam": (DIGITS, *sharp("name: esam")),
    "ae_sam": (DIGITS, *sharp("name: ae_sam")),
    "gradient norm": (DIGITS, *sharp("name: gradient_norm")),
    # Losses and penalties.
    "concatenated": (
        *(DIGITS, RAPP, "game.concatenate=true", "game.conditional=true", "game.augmentations=[flip, color]"),
        "game.penalties=[{name: approximate_r1, weight: 1.0, every: 2}, {name: feature_matching, weight: 1.0}]",
    ),
    **{
        loss: (DIGITS, f"game.loss={loss}", "outer=extragradient")
        for loss in ("minimax", "hinge", "wasserstein", "least_squares", "relativistic")
    },
    **{
        f"{penalty} {loop}": (DIGITS, f"game.penalties=[{{name: {penalty}, every: 2}}]", f"outer={loop}")
        for penalty in ("r1", "r2", "wgan_gp", "approximate_r1")
        for loop in ("gda", "extragradient")
    },
    **{
        penalty: (DIGITS, f"game.penalties=[{penalty}]", "outer=extragradient")
        for penalty in ("dragan", "approximate_r2", "lecam", "orthogonal", "path_length", "feature_matching")
    },
    "consistency": (DIGITS, "game.penalties=[consistency]", "game.augmentations=[flip]"),
    "auxiliary_classifier": (DIGITS, "game.penalties=[auxiliary_classifier]", "game.conditional=true"),
    # Augmentations.
    **{each: (DIGITS, f"game.augmentations=[{each}]") for each in ("flip", "cutout", "color", "crop", "diffaugment")},
    "ada": (DIGITS, "game.augmentations=[{name: ada, p: 0.9}]", "game.penalties=[{name: r1, every: 2}]"),
    "ada kimg": (DIGITS, "game.augmentations=[ada]"),
    # Constraints and optimizers.
    **{
        each: (RING, *both(f"constraint={each}"), "outer=extragradient") for each in ("box", "l2_ball", "simplex", "l1")
    },
    **{
        each: (DIGITS, *both(f"optimizer={{name: {each}, lr: 1.0e-3}}"), "outer=extragradient")
        for each in (
            "sgd",
            "adam",
            "adamw",
            "rmsprop",
            "adagrad",
            "adadelta",
            "nadam",
            "radam",
            "adamax",
            "asgd",
            "adafactor",
            "rprop",
            "muon",
            "optimistic_adam",
        )
    },
    "schedules": (DIGITS, *both("scheduler={name: cosineannealinglr, T_max: 4}")),
    # Networks.
    "dcgan": (DIGITS, *images("dcgan"), "data={name: digits, batch_size: 32, size: 16}"),
    "sndcgan": (DIGITS, *images("sndcgan"), "data={name: digits, batch_size: 8, size: 16}", "game.conditional=true"),
    "sngan": (DIGITS, *images("sngan"), "data={name: digits, batch_size: 8, size: 32}", "game.conditional=true"),
    "sngan attention": (
        *(DIGITS, *images("sngan", ", attention: 8", ", attention: 8")),
        "data={name: digits, batch_size: 8, size: 32}",
    ),
    "r3gan": (
        *(DIGITS, *images("r3gan", ", group_width: 4", ", group_width: 4")),
        *("data={name: digits, batch_size: 32, size: 16}", "game.loss=relativistic", "game.penalties=[r1, r2]"),
    ),
    "stylegan2": (DIGITS, *images("stylegan2", ", mapping_layers: 2, style_mixing: 0.5"), "game.penalties=[r1]"),
    "biggan": (
        *(DIGITS, *images("biggan", "", ""), "game.generator.model.latent_dim=null", "game.conditional=true"),
        "data={name: digits, batch_size: 8, size: 32}",
    ),
    "fastgan": (
        *(DIGITS, *images("fastgan"), "data={name: digits, batch_size: 8, size: 64}"),
        # Its sums are rounded in another way, and Adam's steps have one length, however small a gradient is.
        *(f"game.{player}.optimizer.lr=1e-5" for player in ("generator", "discriminator")),
    ),
    "mlp spectral norm": (RING, "game.discriminator.model.spectral_norm=true", "game.conditional=true"),
    **{
        f"{model['name']} classifier": (classifying("classification", model, size),)
        for size, model in (
            (8, {"name": "conv", "width": 4}),
            (8, {"name": "mlp", "width": 8}),
            (8, {"name": "resnet", "width": 4, "depth": 8}),
            (32, {"name": "vgg", "width": 4, "depth": 11}),
            (8, {"name": "wide_resnet", "width": 1, "depth": 10, "dropout": 0.3}),
            (8, {"name": "densenet", "growth": 4, "blocks": [1, 1]}),
        )
    },
    "regression": (
        {key: value for key, value in DIGITS.items() if key not in ("game", "samples", "ema", "data")}
        | {
            "data": {"target": f"{__name__}:Points", "batch_size": 8},
            "game": {"name": "regression", "regressor": {"model": {"name": "mlp", "width": 8}, "optimizer": SGD}},
        },
    ),
    "imagenet_resnet classifier": (
        classifying("classification", {"name": "imagenet_resnet", "depth": 18}),
        *("data=null", f"data={{target: '{__name__}:Colours', batch_size: 8}}"),
    ),
    # Games of more players, and without data.
    "matrix": (yaml.safe_load((GAMES / "matrix.yaml").read_text()), "scalars=null"),
    "cournot": (yaml.safe_load((GAMES / "cournot.yaml").read_text()), "scalars.every=2"),
    "adversarial": (classifying("adversarial_training", {"name": "conv", "width": 4}, radius=0.2, ascent_steps=2),),
    "perturber": (
        classifying(
            "adversarial_training",
            {"name": "conv", "width": 4, "norm": "group"},
            norm="l2",
            radius=0.2,
            perturber={"model": {"name": "conv", "width": 4}, "optimizer": SGD},
        ),
        RAPP,
    ),
    "domains": (DOMAINS, "outer=extragradient", "evaluate={every: 2, data: {split: test, shift: 1}}"),
    # Precision and places of the data.
    **{
        f"{precision} {name}": (DIGITS, f"run.precision={precision}", *more)
        for precision in ("bf16", "fp16")
        for name, more in {
            "gda": (),
            "rapp": (RAPP,),
            "sampa": sharp("name: sampa"),
            "penalty": ("game.penalties=[wgan_gp]", "outer=extragradient"),
            "accumulation": ("data.accumulation=2", ALTERNATING),
        }.items()
    },
    "tf32": (DIGITS, "run.tf32=true"),
    "channels last": (DIGITS, "run.channels_last=true", "outer=extragradient"),
    "in memory": (DIGITS, "data.storage=memory", "game.conditional=true"),
    "on the device": (DIGITS, "data.storage=device", "game.conditional=true"),
    # Callbacks.
    "diagnosis": (RING, "diagnose={every: 2}"),
    **{
        metric: (
            DIGITS,
            f"evaluate={{every: 2, metrics: [{metric}], samples: 128, subset_size: 50, features: {FEATURES}}}",
            f"evaluate.infinity={str(metric == 'fid').lower()}",
            f"game.conditional={str(metric == 'intra_class_fid').lower()}",
        )
        for metric in ("fid", "isc", "kid", "prc", "prdc", "authenticity", "intra_class_fid", "ppl")
    },
}


# Some sums of these have another order in other layouts of memory.
ROUNDED = {"fastgan"}


def trained(folder: Path, device: torch.device, case: tuple, *overrides: str, resume: bool = False):
    """The state and the log of a short run."""
    base, *settings = case
    folder.mkdir(exist_ok=True)
    config = config_of(base, folder, "run.name=run", "run.steps=4", "log.every=2", *settings, *overrides)
    make_trainer(config, device).fit(resume=resume)
    return state(folder / "run"), rows(folder / "run")


def far(found: tuple, expected: tuple) -> tuple[float, float]:
    """How far two runs lie apart: the players' states as vectors, relative to those expected, and what was logged."""
    apart = logged = 0.0
    for player, weights in expected[0].items():
        if isinstance(weights, dict) and weights and all(isinstance(t, torch.Tensor) for t in weights.values()):
            left, right = (
                torch.cat([t.double().cpu().flatten() for t in run[0][player].values() if t.is_floating_point()])
                for run in (found, expected)
            )
            apart = max(apart, float((left - right).norm() / right.norm()))
    for here, there in zip(found[1], expected[1], strict=True):
        for key, value in there.items():
            if math.isfinite(value):
                logged = max(logged, abs(here[key] - value) / max(abs(value), 0.1))
    return apart, logged


def pictures(folder: Path) -> Path:
    """A folder of 40 small images of two classes."""
    numbers = np.random.default_rng(0)
    for i in range(40):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return folder


SNGAN = (*images("sngan"), "data={name: digits, batch_size: 8, size: 32}")
# By configuration: what a step that is not logged waits for, and the most operations that it launches.
FINITE = "tolist at gradients/loss_scaling.py:evaluate_in_range"
STEPS = {
    "gda": (RING, (), {}, 94),
    "alternating": (DIGITS, (ALTERNATING,), {}, 167),
    "concatenated": (DIGITS, (ALTERNATING, "game.concatenate=true"), {}, 120),
    "rapp": (DIGITS, (RAPP,), {}, 452),
    "lookahead": (DIGITS, ("outer={name: lookahead, inner_steps: 1, base: extragradient}",), {}, 304),
    "accumulation": (DIGITS, ("data.accumulation=2", "data.storage=memory"), {}, 358),
    "bf16": (DIGITS, ("run.precision=bf16",), {}, 215),
    # Once for each evaluation: whether the gradients are finite decides whether they are taken again.
    "fp16": (DIGITS, ("run.precision=fp16",), {FINITE: 2}, 255),
    "randsam": (DIGITS, sharp("name: sam, direction: random"), {}, 193),
    "friendly looksam": (DIGITS, sharp("name: sam, direction: friendly, every: 2"), {}, 476),
    "sampa": (DIGITS, sharp("name: sampa"), {}, 393),
    "constraint": (RING, both("constraint=simplex"), {}, 124),
    "penalty": (DIGITS, ("game.penalties=[r1]",), {}, 202),
    "sngan": (DIGITS, SNGAN, {}, 547),
    "sngan concatenated": (DIGITS, (*SNGAN, "game.concatenate=true"), {}, 384),
    "domains": (DOMAINS, (), {}, 176),
}
