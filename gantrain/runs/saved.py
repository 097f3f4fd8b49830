"""A run opened again: its game and its network, restored from a checkpoint."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gantrain.builders import make_data, make_game, make_outer
from gantrain.config import shipped
from gantrain.config.base import nearest
from gantrain.config.loading import resolved
from gantrain.config.parts import part_name
from gantrain.config.schema import Config, wrong_weights
from gantrain.config.types import expanded, shown
from gantrain.config.user_code import UserCode
from gantrain.data.dataset import DataSet
from gantrain.data.digest import difference, digest
from gantrain.data.spec import DataSpec
from gantrain.errors import NotFound, UserError
from gantrain.games.base import ClassifyingGame, Game, GenerativeGame, PredictingGame
from gantrain.models.interpolation import BetweenClasses, slerp
from gantrain.models.truncation import Truncated, truncate, truncates
from gantrain.optim.ema import EMA, average_part, with_tensors
from gantrain.optim.scheduled import ScheduledNumbers
from gantrain.outer.base import Outer, stand_ins
from gantrain.runs import checkpoint, checkpoint_files
from gantrain.runs.data_record import DataForm, recorded_digest, recorded_form
from gantrain.runs.folder import is_run, open_run
from gantrain.runs.restore import part_of, require_fit, restore, restore_part
from gantrain.utils.seeding import derive, generator

# One class or several, by their numbers or their names.
Classes = int | str | Sequence[int | str] | Tensor

MOVED = "if the data have been moved, say with --data PATH where they are now"
"""What to do where the data of a run are missing."""


@dataclass(frozen=True)
class SavedRun:
    """A run as one of its checkpoints holds it; :func:`load` opens it.

    Attributes:
        folder: the folder of the run.
        path: the folder of the checkpoint.
        step: training steps that the run had taken.
        weights: which weights ``network`` has: "live", "anchor", or the name of an average, such as "ema".
        network: the network that is evaluated, in evaluation mode and with the weights that were asked for: of a GAN
            the generator, of a classification the classifier, which maps samples ``(n, *shape)`` to logits.
        game: the game, with the live weights, which the optimizers had reached.
        form: the form of the training data.
        settings: the validated config.
        moved: whether the data are not where the run was trained on them.
    """

    folder: Path
    path: Path
    step: int
    weights: str
    network: nn.Module = field(repr=False)
    game: Game = field(repr=False)
    form: DataForm = field(repr=False)
    settings: Config = field(repr=False)

    moved: bool = False

    @cached_property
    def data(self) -> DataSet:
        """The training data set, which is read when it is first asked for.

        Raises:
            UserError: the data are missing, or those that are said to be the moved ones are others.
        """
        return _read_data(self.settings, self.folder, self.moved)

    @property
    def config(self) -> dict[str, Any]:
        """The config as in the run's ``config.yaml``, with all defaults: ``run.config["data"]["batch_size"]``."""
        return resolved(self.settings)

    @property
    def spec(self) -> DataSpec:
        """The shape of a sample, and the number of classes."""
        return self.form.spec

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of their numbers; the numbers themselves where there are no names."""
        return self.form.class_names or tuple(map(str, range(self.spec.classes)))

    def sample(self, n: int, seed: int = 0, classes: Classes | None = None, truncation: float | None = None) -> Tensor:
        """Samples of the generator: those that ``gantrain sample RUN --number N --seed SEED`` writes.

        The command takes a GPU if there is one, unless you add ``--device cpu``. On another device than that of the
        network, samples differ by rounding.

        The generator makes 500 samples at a time, so that it needs little memory beside that for the samples.

        Args:
            n: the number of samples.
            seed: the seed of the latent vectors; the same seed gives the same samples.
            classes: the class of all samples, or several classes that the samples take in turn: numbers from 0 on, or
                names out of :attr:`classes`. Only for a conditional game; by default its samples take all classes in
                turn.
            truncation: t, at least 0: the coordinates of the latent vectors that are farther than t from 0 are redrawn,
                see :func:`gantrain.models.truncate`. A generator that truncates by itself, with a method
                ``truncated(z, labels, psi)``, takes t as psi. The smaller t, the more typical and the less various are
                the samples. By default nothing is truncated.

        Returns:
            ``(n, *shape)`` float32, images in [-1, 1], on the device of the network.

        Raises:
            UserError: the run has no generator, the game is not conditional, or there is no such class; the game draws
                latent vectors that are not normal, and they are to be truncated.
        """
        game = self.require_generator()
        n, seed = _whole("n", n, 1), _whole("seed", seed)
        labels = self._labels(game, n, classes)
        if truncation is None:
            return self._finished(game.sample(n, derive(seed, "sample"), labels, self.network))
        if labels is None and game.conditional:
            labels = self._labels(game, n, range(self.spec.classes))
        z, network = self._latents(game, n, seed, truncation)
        return self._finished(game.generate(z, labels, _noise(seed), network))

    def interpolate(
        self,
        steps: int,
        n: int = 2,
        seed: int = 0,
        classes: Classes | None = None,
        truncation: float | None = None,
        closed: bool = False,
        fixed_latent: bool = False,
    ) -> Tensor:
        """Paths from each sample to the next: ``gantrain sample RUN --interpolate STEPS`` shows those that are closed.

        The ends are the samples that :meth:`sample` makes of the same arguments, to the bit. Between them latent
        vectors follow the arc of :func:`gantrain.models.slerp`, and where two samples have different classes, what the
        network looks up by the class (its embeddings, scales and shifts) is interpolated linearly. A generator that
        draws noise keeps that of the first sample along a path.

        Args:
            steps: the number of images on a path, both ends among them; at least 2.
            n: the number of samples that the paths connect; at least 2.
            seed: as in :meth:`sample`.
            classes: as in :meth:`sample`; ``classes=7`` stays in one class.
            truncation: as in :meth:`sample`; the ends are truncated.
            closed: whether one more path leads from the last sample back to the first.
            fixed_latent: whether all samples have the latent vector of the first, so that only the class changes along
                a path. Their ends are then not those of :meth:`sample`, except for the first.

        Returns:
            ``(n - 1, steps, *shape)`` float32, or ``(n, steps, *shape)`` if closed.

        Raises:
            UserError: as in :meth:`sample`; or two samples have different classes, and the network has no embedding of
                the class.
        """
        game = self.require_generator()
        steps, n, seed = _whole("steps", steps, 2), _whole("n", n, 2), _whole("seed", seed)
        if fixed_latent and not game.conditional:
            raise UserError(
                f"fixed_latent: the game of {self.folder} is not conditional, and nothing would change; leave it out"
            )
        labels = self._labels(game, n, range(self.spec.classes) if classes is None and game.conditional else classes)
        z, network = self._latents(game, n, seed, truncation)
        z = z[:1].expand_as(z) if fixed_latent else z
        samples = game.generate(z, labels, _noise(seed), network)
        first = torch.arange(n if closed else n - 1)
        last = (first + 1) % n
        images = [samples[first.to(samples.device)]]
        for t in torch.linspace(0, 1, steps, dtype=torch.float64)[1:-1].tolist():
            place, between = None if labels is None else labels[first], network
            if labels is not None and not torch.equal(labels[first], labels[last]):
                place, between = torch.stack([labels[first], labels[last]], dim=1), BetweenClasses(network, t)
            images.append(game.generate(slerp(z[first], z[last], t), place, _noise(seed), between))
        return self._finished(torch.stack([*images, samples[last.to(samples.device)]], dim=1))

    def generate(self, z: Tensor, classes: Classes | None = None, seed: int = 0) -> Tensor:
        """The samples that the generator makes from latent vectors of your own, as for interpolations.

        Args:
            z: ``(n, run.game.latent_dim)``, the latent vectors, on any device and of any type; the generator was
                trained on standard normal ones.
            classes: as in :meth:`sample`.
            seed: the seed of noise that the generator itself draws.

        Returns:
            As :meth:`sample`.

        Raises:
            UserError: as in :meth:`sample`; or ``z`` has another shape.
        """
        game = self.require_generator()
        if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] != game.latent_dim or not len(z):
            got = f"shape {tuple(z.shape)}" if isinstance(z, Tensor) else shown(z)
            raise UserError(f"z: expected latent vectors (n, {game.latent_dim}), got {got}")
        if classes is None and game.conditional:
            classes = range(self.spec.classes)
        seed = _whole("seed", seed)
        z = z.to(next((p.dtype for p in self.network.parameters()), torch.float32))
        return self._finished(game.generate(z, self._labels(game, len(z), classes), seed, self.network))

    def require_generator(self) -> GenerativeGame:
        """The game, whose evaluated network makes samples.

        Raises:
            UserError: the run has no generator.
        """
        if isinstance(self.game, GenerativeGame):
            return self.game
        use = ""
        if isinstance(self.game, PredictingGame):
            does, what = ("classifies", "logits") if isinstance(self.game, ClassifyingGame) else ("predicts", "numbers")
            use = f"; it {does}: gantrain eval measures it, and in Python network(x) gives {what}"
        raise UserError(f"{self.folder}: the game {part_name(self.settings.game)} has no generator{use}")

    def _latents(self, game: GenerativeGame, n: int, seed: int, truncation: float | None) -> tuple[Tensor, nn.Module]:
        """The latent vectors of ``n`` samples, and the network that makes the samples of them."""
        key = derive(seed, "sample")
        z = game.latents(n, key)
        if truncation is None:
            return z, self.network
        t = None if isinstance(truncation, bool) or not isinstance(truncation, int | float) else float(truncation)
        if t is None or not 0 <= t < math.inf:
            raise UserError(f"truncation: expected a number of at least 0, such as 0.7, got {shown(truncation)}")
        if truncates(self.network):
            return z, Truncated(self.network, t).eval()
        if type(game).latents is not GenerativeGame.latents:
            raise UserError(
                f"truncation: the game {part_name(self.settings.game)} draws latent vectors of its own, and those that "
                "are truncated are normal; give its generator a method truncated(z, labels, psi), or leave it out"
            )
        return truncate(z, t, generator(key, "truncation")), self.network

    def _labels(self, game: GenerativeGame, n: int, classes: Classes | None) -> Tensor | None:
        """``(n,)``, the classes of the samples; None leaves them to the game."""
        if classes is None:
            return None
        if not game.conditional:
            raise UserError(
                f"classes: the game of {self.folder} is not conditional, so that nobody chooses the class of a sample; "
                "leave them out"
            )
        several = classes.tolist() if isinstance(classes, Tensor) else classes
        given = [several] if isinstance(several, str) or not hasattr(several, "__iter__") else list(several)
        if not given:
            raise UserError("classes: expected a class or more, got none")
        return torch.tensor([self._number(one) for one in given])[torch.arange(n) % len(given)]

    def _number(self, given: Any) -> int:
        """The number of a class. A name takes precedence."""
        count = self.spec.classes
        if isinstance(given, str):
            names = self.classes
            if given in names:
                return names.index(given)
            if not given.isdecimal():
                known = f"the classes are {', '.join(names[:10])}{' …' if count > 10 else ''}"
                raise UserError(f"classes: there is no class {given!r}; {known}{nearest(given, names)}")
            given = int(given)
        try:
            number = -1 if isinstance(given, bool) else operator.index(given)
        except TypeError:
            number = -1
        if not 0 <= number < count:
            raise UserError(
                f"classes: expected a number from 0 to {count - 1} or the name of a class, got {shown(given)}"
            )
        return number

    def _finished(self, samples: Tensor) -> Tensor:
        samples = samples.float()
        return samples.clamp_(-1, 1) if self.spec.image else samples


def load(
    run: str | Path,
    *,
    weights: str | None = None,
    step: int | None = None,
    device: torch.device | str = "cpu",
    trust: bool = False,
    data: str | None = None,
    plays: bool = False,
) -> SavedRun:
    """Open a run that ``gantrain train`` has trained: its network, its config and its samples.

    Its data need not be there, unless it is of an earlier version.

    Args:
        run: the run's folder; or ``RUN/step_N``, ``RUN/best`` or ``RUN/best/step_N``. The runs that come
            with gantrain are the classifiers ``checkpoints/digits-classifier`` and ``checkpoints/photos-classifier``
            and the generator ``checkpoints/cifar10-sngan``.
        weights: the name of an average, such as "ema", "live" for the weights of the optimizer, or "anchor" for those
            of the last outer iterate. By default the first average that the run keeps, and "live" if there is none.
        step: the step of the checkpoint; the newest by default.
        device: where the networks are put.
        trust: whether code outside gantrain that the run's config names is executed though the run was not trained
            here.
        data: where the training data lie now, if not where the config says.
        plays: whether the objectives of the game will be computed, for which all its data must be there.

    Raises:
        UserError: there is no such run or checkpoint, the run is not trusted, the checkpoint has no such weights or
            belongs to other networks, or data are missing.

    Examples:
        >>> run = load("checkpoints/digits-classifier")
        >>> run.weights, run.spec.shape, run.config["game"]["name"]
        ('live', (1, 8, 8), 'classification')
        >>> digits = run.data.decode(run.data.samples[:4])
        >>> run.network(digits).argmax(dim=1).tolist() == run.data.labels[:4].tolist()
        True
    """
    _require_device(device)
    try:
        place = shipped.find_run(expanded(str(run)))
    except ValueError as error:
        raise UserError(f"{run}: {error}") from None
    if place.is_file():
        raise UserError(f"{place}: is a file; expected the folder of a run or of a checkpoint")
    if step is not None:
        step = _whole("step", step, 0)
    folder, settings = open_run(next((p for p in (place, *place.parents[:2]) if is_run(p)), place), trust, data)
    path = find_checkpoint(place, step)
    step, state = checkpoint.load(path)
    form = recorded_form(folder)
    read = None
    if plays or form is None:
        read = _read_data(settings, folder, data is not None)
        form = DataForm.of(read)
    try:
        game = make_game(settings, read if plays and read is not None else form.spec, device, saved=True)
    except NotFound as error:
        raise NotFound(f"{error}; {MOVED}") from error
    averages = {section.name: section for section in settings.averages if average_part(section.name) in state}
    weights = weights or next(iter(averages), "live")
    _require_weights(weights, list(averages), path)
    for name, player in game.players.items():
        restore(player.module, state, name, path)
    if scheduled := ScheduledNumbers({"game": game}, {}):
        draws = part_of(state, "field", path).get("draws")
        require_fit(draws, 0, "field.draws", path, counts=True)
        scheduled.follow(draws * settings.data.batch_size)
    network = game.evaluated_network
    if weights == "anchor":
        network = _at_anchor(network, game, make_outer(settings), state, path)
    elif weights != "live":
        average = EMA(network, uniform=True, of=averages[weights].of)  # how it goes on does not matter here
        restore_part(average, state, average_part(weights), path, average.state_dict())
        network = average.module
    saved = SavedRun(
        folder, path, step, weights, network.eval(), game, settings=settings, form=form, moved=data is not None
    )
    if read is not None:
        vars(saved)["data"] = read  # as the property keeps what it has read
    return saved


def _require_weights(weights: str, averages: Sequence[str], path: Path) -> None:
    """Refuse weights that a checkpoint does not have."""
    if weights == "ema" and not averages:
        raise UserError(
            f'{path}: this run keeps no average of its weights; use --weights live (in Python: weights="live")'
        )
    if (wrong := wrong_weights(weights, averages)) is not None:
        raise UserError(f"weights: {wrong}")


def _at_anchor(network: nn.Module, game: Game, outer: Outer, state: dict[str, Any], path: Path) -> nn.Module:
    """The evaluated network at the last outer iterate of a checkpoint's outer loop."""
    restore_part(outer, state, "outer", path, None)
    with UserCode("outer", outer):
        anchor = outer.anchor()
    return network if anchor is None else with_tensors(network, stand_ins(game, anchor))


def _read_data(config: Config, folder: Path, moved: bool) -> DataSet:
    """The training data of the run in a folder; those that have been moved must be the same."""
    try:
        data = make_data(config)
    except NotFound as error:
        raise NotFound(f"{error}; {MOVED}") from error
    if moved:
        try:
            before = recorded_digest(folder)
        except (OSError, ValueError, RecursionError):
            return data
        found = difference(digest(data.samples, data.labels, getattr(data, "in_files", None)), before)
        if found is not None:
            raise UserError(f"--data: {found}, compared with the data on which the run in {folder} was trained")
    return data


def _require_device(device: torch.device | str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"device: {device}: {str(error).splitlines()[0]}; use cpu") from None


def _noise(seed: int) -> int:
    """The seed of the noise that a network draws itself, as :meth:`GenerativeGame.sample` derives it."""
    return derive(derive(seed, "sample"), "sample networks")


def _whole(key: str, number: Any, least: int | None = None) -> int:
    """The whole number that an argument is, also one of NumPy's or torch's."""
    try:
        whole = None if isinstance(number, bool) else operator.index(number)
    except TypeError:
        whole = None
    if whole is None or least is not None and whole < least:
        bound = "" if least is None else f" of at least {least}"
        raise UserError(f"{key}: expected a whole number{bound}, got {shown(number)}")
    return whole


def find_checkpoint(folder: Path, step: int | None) -> Path:
    if checkpoint_files.CHECKPOINT.fullmatch(folder.name) and not is_run(folder):
        if step is not None and folder.name != f"step_{step}":
            raise UserError(f"{folder}: is a checkpoint, and another step, {step}, is asked for; name the run instead")
        return folder
    path = checkpoint.newest(folder) if step is None else checkpoint_files.found(folder).get(step)
    if path is None:
        of_step = "" if step is None else f" of step {step}; there are {sorted(checkpoint_files.found(folder))}"
        raise UserError(f"{folder}: no whole checkpoint{of_step}")
    return path
