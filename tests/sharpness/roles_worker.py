"""What runs in each of several processes, and in one alone, for test_roles.py."""

import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.distributed.sync_batch_norm import synchronise_batch_norm
from gantrain.errors import Diverged
from gantrain.games.base import Game, Objective, Player
from gantrain.games.function import FunctionGame
from gantrain.gradients.evaluator import Evaluator
from gantrain.models.layers.spectral_norm import spectrally_normalised
from gantrain.outer import GDA, Extragradient, Lookahead
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM, Plain, SAMPa

SIZE = 8  # rows of a global batch


def rows(draw, processes, *shape):
    """This process' rows of a global draw."""
    source = torch.Generator().manual_seed(draw)
    numbers = torch.randn(SIZE, *shape, generator=source, dtype=torch.float64)
    share = SIZE // processes.group_size
    return numbers[processes.rank * share : (processes.rank + 1) * share]


class Classifier(Game):
    """One player with batch norm, and dropout on request."""

    def __init__(self, processes, dropout=0.0):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3)
        ).double()
        super().__init__([Player("x", synchronise_batch_norm(module, processes))])

    def objective(self, player, batch):
        logits = self.players["x"].module(batch)
        targets = batch[:, :3].argmax(1)
        return Objective(cross_entropy(logits, targets), logits, targets, {"logit": logits.detach()})


class TinyGAN(Game):
    """A discriminator with spectral norm and a generator with batch norm."""

    def __init__(self, processes):
        torch.manual_seed(0)
        d = spectrally_normalised(nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))).double()
        g = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).double()
        super().__init__([Player("d", d), Player("g", synchronise_batch_norm(g, processes))])

    def objective(self, player, batch):
        real, z = batch[:, :2] * 0.3 + 1.0, batch[:, 2:]
        d, g = (p.module for p in self.players.values())
        if player == "g":
            fake = d(g(z)).squeeze(1)
            return Objective(softplus(-fake).mean(), fake, torch.ones(len(fake), dtype=torch.int64))
        with torch.no_grad():
            samples = g(z)
        logits = torch.cat([d(real), d(samples)]).squeeze(1)
        targets = torch.arange(len(logits)).lt(len(real)).long()
        loss = softplus(-logits[: len(real)]).mean() + softplus(logits[len(real) :]).mean()
        return Objective(loss, logits, targets, {"real": logits[: len(real)].detach()})


def sampa(parallel, **settings):
    return SAMPa(rho=0.1, mix=0.2, parallel=parallel, **settings)


def scenario(name, processes, parallel):
    """A field and a loop."""
    if name.startswith("classifier"):
        game = Classifier(processes, dropout=0.3 if name == "classifier_dropout" else 0.0)
        oracles = {"x": sampa(parallel, climb="log" if name == "classifier_log" else "loss", cosine=True)}
        loop, order = GDA(), "simultaneous"
    else:
        # Alone, batch norm looks at this process' rows.
        game = TinyGAN(Processes() if name == "gan_unsynchronised" else processes)
        oracles, loop, order = {
            "gan_simultaneous": ({"d": sampa(parallel), "g": Plain()}, GDA(), "simultaneous"),
            "gan_unsynchronised": ({"d": sampa(parallel), "g": SAM(0.1)}, GDA(), "simultaneous"),
            "gan_alternating": ({"d": sampa(parallel), "g": SAM(0.1, ascent="global")}, GDA(), "alternating"),
            "gan_nested": (
                {"d": sampa(parallel, climb="tanh"), "g": sampa(parallel)},
                Lookahead(2, 0.5, Extragradient()),
                "simultaneous",
            ),
        }[name]
    torch.manual_seed(0)
    learners = [
        Learner(player, torch.optim.AdamW(player.parameters, lr=0.01, weight_decay=0.1), oracles[player.name])
        for player in game.players.values()
    ]
    evaluator = Evaluator(
        game,
        lambda draw, step: rows(draw, processes, 4),
        processes=processes,
        reseed=lambda draw: torch.manual_seed(1000 * draw + processes.rank),
    )
    return Field(evaluator, learners, order), loop


SCENARIOS = (
    "classifier",
    "gan_simultaneous",
    "gan_nested",
    "gan_alternating",
    "classifier_log",
    "classifier_dropout",
)
# By the number of processes.
RUN = {2: SCENARIOS, 4: SCENARIOS[:3]}
SPLIT = 4


def steps(name):
    """Long where little is left out, short elsewhere."""
    return 20 if name == "classifier" else 8


def tensors(field):
    state = [t.clone() for p in field.evaluator.game.players.values() for t in p.module.state_dict().values()]
    return state + [g.clone() for learner in field.learners if learner.oracle.parts > 1 for g in learner.oracle.slope]


def whole(field, loop):
    """All that a later step depends on."""
    return copy.deepcopy(
        {
            "modules": {n: p.module.state_dict() for n, p in field.evaluator.game.players.items()},
            "optimizers": {each.name: each.optimizer.state_dict() for each in field.learners},
            "field": field.state_dict(),
            "loop": loop.state_dict(),
            "step": field.evaluator.step,
        }
    )


def take_up(state, field, loop):
    for name, player in field.evaluator.game.players.items():
        player.module.load_state_dict(state["modules"][name])
    for learner in field.learners:
        learner.optimizer.load_state_dict(state["optimizers"][learner.name])
    field.load_state_dict(state["field"])
    loop.load_state_dict(state["loop"])
    field.evaluator.step = state["step"]


def solve(name, processes, parallel, state=None):
    """Take the steps; what came of it."""
    field, loop = scenario(name, processes, parallel)
    if state is not None:
        take_up(state, field, loop)
    middle = None
    with torch.random.fork_rng(devices=[]):
        while field.evaluator.step < steps(name):
            if field.evaluator.step == SPLIT:
                middle = whole(field, loop)
            field.evaluator.observing = field.evaluator.step == steps(name) - 1
            loop.step(field)
            field.evaluator.step += 1
    numbers = {(p, n): float(v) for p, scalars in field.evaluator.observed.items() for n, v in scalars.items()}
    return {
        "tensors": tensors(field),
        "evaluations": field.evaluator.evaluations,
        "observed": processes.gather_means(numbers),
        "middle": middle,
    }


def shard_loss(x, batch):
    """A loss of bare weights ``(4, 3)`` on some rows."""
    return cross_entropy(torch.tanh(batch @ x) * 2, batch[:, :3].argmax(1))


def start():
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class Weights(FunctionGame):
    """One player whose strategy is bare weights."""

    def __init__(self):
        super().__init__(shard_loss, {"x": start()})

    def objective(self, player, batch):
        return Objective(self.value(batch))


def local(processes, oracle):
    """The weights after three moves with lr = 0.5, each process climbing its own gradient."""
    game = Weights()
    player = game.players["x"]
    learner = Learner(player, torch.optim.SGD(player.parameters, lr=0.5), oracle)
    field = Field(Evaluator(game, lambda draw, step: rows(draw, processes, 4), processes=processes), [learner])
    for _ in range(3):
        field.move(field.draw())
    return player.parameters[0].detach().clone()


class InfiniteAtLast(Weights):
    """Its loss is infinite from some evaluation on."""

    left = 0

    def objective(self, player, batch):
        self.left -= 1
        found = super().objective(player, batch)
        return Objective(found.loss * float("inf")) if self.left == 0 else found


def lose_in_one_role():
    """The error of a move in which the loss is infinite in the last process, and the weights after another move."""
    with process_group(cpu=True):
        processes = Processes.launched()
        game = InfiniteAtLast()
        player = game.players["x"]
        learner = Learner(player, torch.optim.SGD(player.parameters, lr=0.5), sampa("on"))
        evaluator = Evaluator(game, lambda draw, step: rows(draw, processes, 4), processes=processes, scaled=True)
        field = Field(evaluator, [learner])
        field.move(field.draw())
        game.left = processes.rank
        try:
            field.move(field.draw())
        except Diverged as error:
            found = str(error)
        field.move(field.draw())
        return found, player.parameters[0].detach().clone()


def traffic(name, processes):
    """For each of three later moves the numbers in each average over all processes, and those in each message sent."""
    field, loop = scenario(name, processes, "on")
    loop.step(field)
    averaged, sent = [], []
    reduce, send = dist.all_reduce, dist.batch_isend_irecv

    def reducing(tensor, *arguments, group=None, **settings):
        averaged[-1] += [len(tensor)] if group is None else []
        return reduce(tensor, *arguments, group=group, **settings)

    def sending(messages):
        sent[-1] += [len(message.tensor) for message in messages if message.op is dist.isend]
        return send(messages)

    dist.all_reduce, dist.batch_isend_irecv = reducing, sending
    try:
        for _ in range(3):
            averaged.append([])
            sent.append([])
            loop.step(field)
    finally:
        dist.all_reduce, dist.batch_isend_irecv = reduce, send
    return averaged, sent


def work(path):
    """What one of several processes finds, given a file with what one alone has found."""
    serial = torch.load(path)
    torch.set_num_threads(1)
    with process_group(cpu=True):
        processes = Processes.launched()
        results = {name: solve(name, processes, "auto") for name in RUN[processes.world_size]}
        results["resumed"] = {
            name: solve(name, processes, "on", serial[name]["middle"]) for name in ("classifier", "gan_nested")
        }
        results["off"] = solve("gan_simultaneous", processes, "off")
        results["local"] = {
            "sam": local(processes, SAM(0.3)),
            "sampa": local(processes, SAMPa(0.3, 0.2, ascent="local", parallel="off")),
        }
        results["traffic"] = {name: traffic(name, processes) for name in ("classifier", "gan_unsynchronised")}
        return results
