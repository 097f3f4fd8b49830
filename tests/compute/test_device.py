"""Whole runs on an emulated device: the CPU's results to the bit, and what they would cost on a GPU, in numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import language
import numpy as np
import pytest
import torch
import torch.distributed as dist
from emulated_device import Counts, DeviceTensor, counted, emulated
from forked import together
from PIL import Image
from tiny import DIGITS, RING, config_of, rows, same, state

from gantrain.commands.train import make_trainer
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.runs.checkpoint_writer import CheckpointWriter
from gantrain.train.progress import Progress

CPU = torch.device("cpu")
FEATURES = Path(__file__).parents[2] / "checkpoints/digits-classifier"

PLAYERS = ("generator", "discriminator")
RAPP = "outer={name: rapp, inner_steps: 3}"
ALTERNATING = "outer={name: gda, order: alternating}"


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
    # Losses and penalties.
    **{
        loss: (DIGITS, f"game.loss={loss}", "outer=extragradient")
        for loss in ("minimax", "hinge", "wasserstein", "least_squares", "relativistic")
    },
    **{
        f"{penalty} {loop}": (DIGITS, f"game.penalties=[{{name: {penalty}, every: 2}}]", f"outer={loop}")
        for penalty in ("r1", "r2", "wgan_gp", "approximate_r1")
        for loop in ("gda", "extragradient")
    },
    # Augmentations.
    **{each: (DIGITS, f"game.augmentations=[{each}]") for each in ("flip", "cutout", "color", "crop")},
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
    # Games of more players.
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
        )
        for metric in ("fid", "isc", "kid", "prc", "ppl")
    },
}
SLOW = [pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in MANY.items()]


def trained(folder: Path, device: torch.device, case: tuple, *overrides: str, resume: bool = False):
    """The state and the log of a short run."""
    base, *settings = case
    folder.mkdir(exist_ok=True)
    config = config_of(base, folder, "run.name=run", "run.steps=4", "log.every=2", *settings, *overrides)
    make_trainer(config, device).fit(resume=resume)
    return state(folder / "run"), rows(folder / "run")


@pytest.mark.parametrize("case", [*(pytest.param(case, id=name) for name, case in FEW.items()), *SLOW])
def test_runs_are_the_cpus_to_the_bit(tmp_path, case):
    expected = trained(tmp_path / "cpu", CPU, case)
    with emulated() as device:
        assert same(trained(tmp_path / "device", device, case), expected)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["{storage: disk, workers: 1}", "{storage: memory}", "{storage: device}"])
def test_images_in_files_reach_the_device(tmp_path, storage):
    numbers = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    data = f"data={{name: image_folder, path: {tmp_path / 'pictures'}, batch_size: 16}}"
    case = (DIGITS, data, f"data={storage}", "game.conditional=true")
    expected = trained(tmp_path / "cpu", CPU, (DIGITS, data, "game.conditional=true"))
    with emulated() as device:
        assert same(trained(tmp_path / "device", device, case), expected)


@pytest.mark.slow
def test_texts_reach_the_device(tmp_path):
    pytest.importorskip("transformers")
    language.bert(tmp_path / "bert")
    texts = language.write(tmp_path / "train.tsv", language.opinions(40, seed=0))
    base = classifying("classification", {"name": "huggingface", "checkpoint": str(tmp_path / "bert")})
    base["data"] = {"name": "text", "train": str(texts), "tokenizer": str(tmp_path / "bert"), "batch_size": 8}
    expected = trained(tmp_path / "cpu", CPU, (base,))
    with emulated() as device:
        assert same(trained(tmp_path / "device", device, (base,)), expected)


def test_a_run_resumes_on_the_device_from_a_checkpoint_of_either(tmp_path):
    case = (DIGITS, "outer={name: lookahead, inner_steps: 4, base: optimistic}", "run.precision=bf16")
    expected = trained(tmp_path / "straight", CPU, case)
    trained(tmp_path / "cpu", CPU, case, "run.steps=2")
    with emulated() as device:
        trained(tmp_path / "device", device, case, "run.steps=2")
        assert same(trained(tmp_path / "device", device, case, resume=True), expected)
        assert same(trained(tmp_path / "cpu", device, case, resume=True), expected)


def shared(folder: str, *settings: str) -> Counts:
    """A run that this process shares with others, on the CPU and on a device, and what the device was asked for."""
    case = (DIGITS, "run.steps=3", *settings)
    with process_group(cpu=True), emulated() as device:
        trained(Path(folder) / "cpu", CPU, case)
        with counted() as counts:
            trained(Path(folder) / "device", device, case)
    return counts


@pytest.mark.parametrize(
    "settings",
    [
        ("outer=extragradient", "game.conditional=true"),
        pytest.param(("game.discriminator.sharpness={name: sampa}", "run.precision=fp16"), marks=pytest.mark.slow),
        pytest.param(("run.batch_norm=local", "data.accumulation=2", RAPP), marks=pytest.mark.slow),
        pytest.param(("game.penalties=[wgan_gp]", "run.precision=bf16"), marks=pytest.mark.slow),
    ],
)
def test_two_processes_share_a_run_on_devices(tmp_path, settings):
    for counts in together(shared, str(tmp_path), *settings):
        assert not any("loss_scaling.py:settle" in what for what in counts.waits)
    expected, found = (tmp_path / place / "run" for place in ("cpu", "device"))
    assert same(state(found), state(expected)) and rows(found) == rows(expected)


# By configuration: what a step that is not logged waits for, and the most operations that it launches.
FINITE = "tolist at gradients/loss_scaling.py:evaluate_in_range"
STEPS = {
    "gda": (RING, (), {}, 94),
    "alternating": (DIGITS, (ALTERNATING,), {}, 167),
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
    "sngan": (DIGITS, (*images("sngan"), "data={name: digits, batch_size: 8, size: 32}"), {}, 547),
    "domains": (DOMAINS, (), {}, 176),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_waits_for_the_device_and_launches_no_more_than_it_must(tmp_path, name):
    base, settings, waits, launches = STEPS[name]
    with emulated() as device:
        trainer = make_trainer(config_of(base, tmp_path, *settings), device)
        for _ in range(2):
            trainer.train_step()
        with counted() as counts:
            trainer.train_step()
    assert counts.waits == waits
    assert counts.launches.total() <= launches


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("outer=extragradient",), marks=pytest.mark.slow),
        ("run.precision=bf16", "data.storage=memory"),
    ],
)
def test_a_run_waits_for_the_device_at_its_logs_alone(tmp_path, settings):
    waits = []
    with emulated() as device:
        for steps in (1, 2, 7):  # the first run fills caches; two steps make an epoch
            small = ("data.samples=64", "log.every=100", f"run.name=of-{steps}", f"run.steps={steps}")
            with counted() as counts:
                make_trainer(config_of(RING, tmp_path, *small, *settings), device).fit()
            waits.append(counts.waits)
    assert waits[1] == waits[2]


def test_a_row_of_the_log_waits_for_the_device_once(tmp_path):
    """For all numbers together, and the scores of which TensorBoard is given histograms."""
    with emulated() as device:
        trainer = make_trainer(config_of(RING, tmp_path, "run.steps=2"), device)
        trainer.train_step(observe=True)
        trainer.progress = Progress(enabled=False)
        with counted() as counts:
            trainer.log(1.0, 1, 1)
    assert counts.waits == {"tolist at train/trainer.py:_observations": 1}
    assert {name: len(scores) for name, scores in trainer.distributions.items()} == {"real": 32, "fake": 32}
    mean = sum(trainer.distributions["real"]) / 32
    assert mean == pytest.approx(trainer.unlogged["score/real"], rel=1e-5)


def test_nccl_divides_on_the_way_and_gloo_does_not(monkeypatch):
    reductions = []
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, op, **settings: reductions.append(op) or Mock())
    processes = Processes()
    processes.world_size = 2
    with emulated() as device:
        for backend, place, mean in (("cpu:gloo,cuda:nccl", device, 4.0), ("cpu:gloo,cuda:nccl", CPU, 2.0)):
            monkeypatch.setattr(dist, "get_backend", lambda backend=backend: backend)
            assert processes.begin_mean([torch.full((2,), 4.0).to(place)])()[0].tolist() == [mean, mean]
    assert reductions == [dist.ReduceOp.AVG, dist.ReduceOp.SUM]


def test_the_device_refuses_what_cuda_refuses_and_counts_what_it_takes():
    with emulated() as device, counted() as counts:
        x = torch.ones(3, device=device)
        for refused in (lambda: x + torch.ones(3), lambda: torch.stack([x, torch.ones(3)]), lambda: x.numpy()):
            with pytest.raises((RuntimeError, TypeError), match="device"):
                refused()
        assert not counts.waits
        y = torch.arange(3).pin_memory().to(device, non_blocking=True) + torch.tensor(1)
        y[2:] = x[2:].long()
        assert isinstance(y, DeviceTensor) and not counts.waits
        assert y.tolist() == [1, 2, 1] and x.sum().item() == 3 and x[torch.tensor([0])].shape == (1,)
        assert y[y == 1].shape == (2,) and x.cpu().device == CPU
    assert Counter(what.partition(" at ")[0] for what in counts.waits.elements()) == {
        "tolist": 1,
        "item": 1,
        "index on the CPU": 1,
        "mask as an index": 1,
        "copy to the CPU": 1,
    }
    assert not torch.accelerator.is_available()


def test_a_checkpoint_waits_for_the_device_a_fixed_number_of_times(tmp_path):
    """For the norms of the weights, for those of all numbers, and for the copy, whatever the number of tensors."""
    with emulated() as device:
        trainer = make_trainer(config_of(DIGITS, tmp_path), device)
        trainer.train_step()
        trainer.folder.mkdir()
        with trainer.monitored(), CheckpointWriter() as trainer.writer, counted() as counts:
            trainer.save()
            weights = trainer.learners[0].parameters[0]
            before = weights.inner.clone()
            weights.data.add_(1.0)  # the training goes on
            trainer.writer.wait()
    name = next(name for name, p in trainer.learners[0].player.module.named_parameters() if p is weights)
    assert same(state(tmp_path / "digits")[trainer.learners[0].name][name], before)
    assert counts.waits == {
        "tolist at train/trainer.py:_check_weights": 1,
        "copy to the CPU at train/nonfinite.py:_norms": 1,
        "synchronisation at runs/checkpoint_writer.py:_copy": 1,
    }
