"""Training loops of other libraries, on networks that are given: each function returns a step, or raises why it cannot.

A library that has a loop of its own (torch-mimicry, torchgan, Lightning) trains in it: the loop is stopped where it
asks for its next batch. Whatever such a loop does from time to time (logs, checkpoints, pictures, progress bars) is
switched off; what it does in every step stays. A library that has only optimizers is used in the loops of
`by_hand.py`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from by_hand import GAN, Batch, Classifier, Step
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

# As many steps as no benchmark takes.
ENDLESS = 10**9


class Loader:
    """Batches without end, as a loop takes them from a data loader.

    Args:
        source: the batches.
        size: the number of samples in each.
        wait: is called before each batch.
    """

    def __init__(self, source: Iterator[Batch], size: int, wait: Callable[[], object]):
        self.source, self.batch_size, self.wait = source, size, wait

    def __len__(self) -> int:
        return ENDLESS

    def __iter__(self) -> Iterator[list[Tensor]]:
        while True:
            self.wait()
            real, labels = next(self.source)
            yield [real, torch.zeros(len(real)) if labels is None else labels]


def stepped(train: Callable[[Loader], object], source: Iterator[Batch], size: int) -> Step:
    """A function that lets a loop go on until it asks its loader for the batch of the next step.

    The loop runs in a greenlet, with a stack of its own but in the same thread, so that it computes as the others do.
    """
    from greenlet import getcurrent, greenlet

    outside = getcurrent()

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(Loader(source, size, outside.switch))

    loop = greenlet(run)
    loop.switch()  # to the first batch

    def step() -> None:
        loop.switch()
        if loop.dead:
            raise RuntimeError("the loop ended by itself")

    return step


def torch_mimicry(
    generator: Any, discriminator: nn.Module, optimizer: Any, source: Iterator[Batch], size: int, folder: str
) -> Step:
    """torch-mimicry's trainer, on subclasses of its networks that call the given ones."""
    import torch.utils.tensorboard  # noqa: F401 - which must not meet the stand-in for tensorflow

    # torch-mimicry also imports its data sets and metrics, which need a module that torch 2 no longer has, and
    # tensorflow. Neither takes part in a step.
    missing = {"torch._six": types.ModuleType("torch._six"), "tensorflow": types.ModuleType("tensorflow")}
    missing["torch._six"].__dict__["PY3"] = True
    added = [name for name in missing if name not in sys.modules]
    sys.modules.update({name: missing[name] for name in added})
    try:
        from torch_mimicry.nets.gan.gan import BaseDiscriminator, BaseGenerator
        from torch_mimicry.training import Trainer
    finally:
        for name in added:
            del sys.modules[name]

    class G(BaseGenerator):
        def __init__(self) -> None:
            super().__init__(nz=generator.latent_dim, ngf=0, bottom_width=4, loss_type="ns")
            self.network = generator

        def forward(self, z: Tensor) -> Tensor:
            return self.network(z)

    class D(BaseDiscriminator):
        def __init__(self) -> None:
            super().__init__(ndf=0, loss_type="ns")
            self.network = discriminator

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x).unsqueeze(1)

    def train(loader: Loader) -> None:
        g, d = G(), D()
        never = dict.fromkeys(("print_steps", "vis_steps", "log_steps", "save_steps"), ENDLESS)
        trainer = Trainer(
            netD=d,
            netG=g,
            optD=optimizer(d.parameters()),
            optG=optimizer(g.parameters()),
            dataloader=loader,
            num_steps=ENDLESS,
            n_dis=1,
            device=torch.device("cpu"),
            log_dir=f"{folder}/torch-mimicry",
            **never,
        )
        trainer.train()

    with contextlib.redirect_stdout(io.StringIO()):
        return stepped(train, source, size)


def torchgan(
    generator: Any, discriminator: nn.Module, optimizer: Any, source: Iterator[Batch], size: int, folder: str
) -> Step:
    """torchgan's trainer with its minimax losses, on subclasses of its networks that call the given ones."""
    from torchgan.losses import MinimaxDiscriminatorLoss, MinimaxGeneratorLoss
    from torchgan.models import Discriminator, Generator
    from torchgan.trainer import Trainer

    class G(Generator):
        def __init__(self) -> None:
            super().__init__(encoding_dims=generator.latent_dim, label_type="none")
            self.network = generator

        def forward(self, z: Tensor) -> Tensor:
            return self.network(z)

    class D(Discriminator):
        def __init__(self) -> None:
            super().__init__(input_dims=1, label_type="none")
            self.network = discriminator

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)

    def train(loader: Loader) -> None:
        players = {"generator": G, "discriminator": D}
        trainer = Trainer(
            {name: {"name": player, "optimizer": {"name": optimizer}} for name, player in players.items()},
            [MinimaxGeneratorLoss(), MinimaxDiscriminatorLoss()],
            device=torch.device("cpu"),
            epochs=1,
            checkpoints=f"{folder}/torchgan/models/gan",
            recon=f"{folder}/torchgan/images",
            log_dir=f"{folder}/torchgan/log",
        )
        trainer(loader)

    return stepped(train, source, size)


def lightning(
    generator: Any, discriminator: nn.Module, optimizer: Any, source: Iterator[Batch], size: int, folder: str
) -> Step:
    """Lightning's trainer, on a module that optimizes manually."""
    import lightning as L

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Players(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.generator, self.discriminator = generator, discriminator

        def configure_optimizers(self) -> list[Any]:
            return [optimizer(self.generator.parameters()), optimizer(self.discriminator.parameters())]

        def training_step(self, batch: list[Tensor], index: int) -> None:
            g_optimizer, d_optimizer = self.optimizers()  # type: ignore[misc,attr-defined]
            real, _ = batch
            z = torch.randn(len(real), self.generator.latent_dim)
            self.toggle_optimizer(d_optimizer)
            with torch.no_grad():
                fake = self.generator(z)
            loss = softplus(-self.discriminator(real)).mean() + softplus(self.discriminator(fake)).mean()
            d_optimizer.zero_grad()
            self.manual_backward(loss)
            d_optimizer.step()
            self.untoggle_optimizer(d_optimizer)
            self.toggle_optimizer(g_optimizer)
            loss = softplus(-self.discriminator(self.generator(z))).mean()
            g_optimizer.zero_grad()
            self.manual_backward(loss)
            g_optimizer.step()
            self.untoggle_optimizer(g_optimizer)

    def train(loader: Loader) -> None:
        off = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "barebones"), False
        )
        trainer = L.Trainer(accelerator="cpu", devices=1, max_epochs=1, default_root_dir=f"{folder}/lightning", **off)
        trainer.fit(Players(), loader)

    return stepped(train, source, size)


def cooper_extra_adam(game: GAN, lr: float, betas: tuple[float, float]) -> Step:
    """Extragradient by cooper's ExtraAdam, in the loop by hand."""
    from cooper.optim import ExtraAdam

    optimizers = [ExtraAdam(n.parameters(), lr=lr, betas=betas) for n in (game.discriminator, game.generator)]

    def step() -> None:
        game.gradients()
        for optimizer in optimizers:
            optimizer.extrapolation()
        game.gradients()
        for optimizer in optimizers:
            optimizer.step()

    return step


def lookahead_optimizer(
    optimizer: Callable[[Iterable[nn.Parameter]], Any], inner_steps: int, relaxation: float
) -> Callable[[Iterable[nn.Parameter]], Any]:
    """Makes pytorch_optimizer's Lookahead around an optimizer, for the loops by hand."""
    from pytorch_optimizer import Lookahead

    return lambda parameters: Lookahead(optimizer(parameters), k=inner_steps, alpha=relaxation)


def sam_optimizer(classifier: Classifier, adaptive: bool = False) -> Step:
    """A step of pytorch_optimizer's SAM around SGD, in a loop by hand."""
    from pytorch_optimizer import SAM

    network = classifier.network
    settings = {"rho": classifier.rho, "adaptive": adaptive, "fused": True, **classifier.sgd}
    optimizer = SAM(network.parameters(), torch.optim.SGD, **settings)

    def closure(batch: Batch) -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(network(batch[0]), batch[1])  # type: ignore[arg-type]  # the data have labels
        loss.backward()
        return loss

    def step() -> None:
        again = partial(closure, next(classifier.source))
        again()
        optimizer.step(again)

    return step
