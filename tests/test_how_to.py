"""The how-to pages: each includes its example and its commands, its Python runs, and its mistakes end in its lines."""

from __future__ import annotations

import copy
import re
import sys

import pytest
from test_documentation import ROOT, blocks
from tiny import DIGITS, RING, write

from gantrain.commands.train import train
from gantrain.config.loading import load
from gantrain.errors import UserError

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "trainer")
PAGES = [f"docs/how_to/own_{name}.md" for name in EXAMPLES]


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def plain(lines: str) -> str:
    """The words of an error in one line, without the numbers of lines of code and what a draw decides."""
    return re.sub(r"(\w+\.py:)\d+|from -[\d.]+ to [\d.]+|item 1?\d ", r"\1", " ".join(lines.split()))


def test_each_example_has_a_page_that_includes_it_and_its_commands():
    assert sorted(f"docs/how_to/{path.name}" for path in (ROOT / "docs" / "how_to").glob("*.md")) == PAGES
    overview = text("docs/parts.md")
    for name, page in zip(EXAMPLES, PAGES, strict=True):
        written, example = text(page), (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
        assert f'\n--8<-- "examples/{name}.py"\n' in written and f"](../../examples/{name}.py)" in written
        assert f"](how_to/own_{name}.md)" in overview
        shown = "".join(blocks(page, ""))
        for command in re.findall(r"^gantrain (?:.*\\\n)*.*$", example, re.MULTILINE):
            assert command in shown, f"{page} lacks the command of examples/{name}.py: {command}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_python_of_a_how_to_page_runs_and_its_contracts_hold(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    names: dict[str, object] = {"__name__": "how_to"}
    for content in blocks(page, "python"):
        exec(compile(content, page, "exec"), names)
    for found in [value for name, value in names.items() if name.startswith("Test")]:
        for method in [name for name in dir(found) if name.startswith("test_")]:
            getattr(found(), method)()


# Module -> its code. The classes are named in the lines of the pages.
MODULES = {
    "my_losses": """
class Smooth(gt.Loss):
    def __init__(self, smoothing: float = 0.1):
        self.smoothing = smoothing
    def discriminator(self, real, fake):
        return (fake - real).mean()
    def generator(self, real, fake):
        return -fake.mean()
class NoMean(Smooth):
    def discriminator(self, real, fake):
        return fake - real
class Relative(Smooth):
    def generator(self, real, fake):
        return (real - fake).mean()
class NotDerived:
    pass
""",
    "my_networks": """
class Column(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    def forward(self, samples):
        return self.layer(samples)
class Labelled(gt.Generator):
    def __init__(self, spec):
        super().__init__()
        self.latent_dim = 4
        self.embedding = nn.Embedding(10, 4)
    def forward(self, z, labels):
        return z + self.embedding(labels)
class NoLatent(gt.Generator):
    def __init__(self, spec):
        super().__init__()
        self.layer = nn.Linear(4, 64)
    def forward(self, z):
        return self.layer(z)
class Flat(NoLatent):
    latent_dim = 4
class NoSpec(gt.Generator):
    def __init__(self, width: int = 8):
        super().__init__()
    def forward(self, z):
        return z
""",
    "my_penalties": """
class NoMean(gt.Penalty):
    def value(self, discriminator, real, fake, batch):
        return real.logits
class Slope(gt.Penalty):
    def value(self, discriminator, real, fake, batch):
        return torch.autograd.grad(real.logits.sum(), real.samples)[0].square().mean()
class Empty(gt.Penalty):
    pass
""",
    "my_changes": """
class Cut(gt.Augmentation):
    def __call__(self, images, batch):
        return images[:, :, 1:]
class Detached(gt.Augmentation):
    def __call__(self, images, batch):
        return images.detach()
""",
    "my_data": """
class Normalised(torch.utils.data.Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, i):
        return self.image(i), self.label(i)
    def image(self, i):
        return torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(i))
    def label(self, i):
        return i % 10
class Transformed(Normalised):
    def image(self, i):
        return torch.rand(1, 8, 8)
class Integers(Normalised):
    def image(self, i):
        return torch.full((8, 8), i)
class Mixed(Normalised):
    def image(self, i):
        return torch.zeros(8 + i % 2, 8, dtype=torch.uint8)
class Named(Integers):
    def image(self, i):
        return torch.zeros(8, 8, dtype=torch.uint8)
    def label(self, i):
        return "cat"
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield 0
class Unlabelled(Named):
    def __getitem__(self, i):
        return self.image(i)
class Broken(Named):
    def __getitem__(self, i):
        return self.image(i), 1 + round(1 / (i - 30))
""",
    "my_metrics": """
class Other(gt.Metric):
    better = {"x": "lower"}
    def measure(self, fake, real):
        return {"y": 1.0}
class NoBetter(gt.Metric):
    def measure(self, fake, real):
        return 1.0
class Swapped(gt.Metric):
    better = {"x": "lower"}
    def measure(self, real, fake):
        return 1.0
class Images(Other):
    def measure(self, fake, real):
        return fake.images.float().mean()
class Vector(Other):
    def measure(self, fake, real):
        return fake.features.mean(0)
""",
    "my_callbacks": """
class NoSuper(gt.Callback):
    def __init__(self, count: int = 1):
        self.count = count
    def run(self, folder, monitor, step, network):
        pass
class Short(gt.Callback):
    def run(self, folder, step):
        pass
class Fails(gt.Callback):
    def run(self, folder, monitor, step, network):
        network(torch.randn(2, 4))
""",
    "my_trackers": """
class Nameless(accelerate.tracking.GeneralTracker):
    def __init__(self):
        super().__init__()
""",
    "my_optimizers": """
class NoStep(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, {"lr": lr})
class Closure(NoStep):
    def step(self, closure):
        closure()
class NoRate(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})
    def step(self, closure=None):
        pass
""",
    "my_loops": """
class Idle(gt.Outer):
    def step(self, field):
        return True
class Silent(gt.Outer):
    def step(self, field):
        field.move(field.draw(), "simultaneous")
class Bare(gt.Outer):
    def step(self):
        return True
""",
    "my_oracles": """
class Bare(gt.Oracle):
    def evaluate(self, context, part):
        return context.gradient()
class Nothing(gt.Oracle):
    def evaluate(self, context, part):
        context.gradient()
""",
    "my_constraints": """
class Returns(gt.Resolvent):
    def apply_(self, parameters, step_size):
        return [p.clamp(-1, 1) for p in parameters]
class Graph(gt.Resolvent):
    def apply_(self, parameters, step_size):
        for p in parameters:
            p.clamp_(-1, 1)
""",
    "my_games": """
class Unnamed(gt.games.GenerativeGame):
    def __init__(self, generator: gt.Generator, discriminator: gt.Discriminator):
        super().__init__([gt.Player("discriminator", discriminator), gt.Player("generator", generator)])
        self.generator, self.discriminator = generator, discriminator
    def logits(self, batch):
        return self.discriminator(self.generator(batch.normal("z", self.latent_dim)))
    def objective(self, player, batch):
        return self.logits(batch).mean()
class Bare(Unnamed):
    evaluated_player = "generator"
class Rows(Bare):
    def objective(self, player, batch):
        return gt.Objective(self.logits(batch))
class Detached(Bare):
    def objective(self, player, batch):
        samples = self.generator(batch.normal("z", self.latent_dim)).detach()
        return gt.Objective(self.discriminator(samples).mean())
class Fails(Bare):
    def objective(self, player, batch):
        return gt.Objective(self.discriminator(batch.image).mean())
class OtherNames(gt.Game):
    def __init__(self, maker: gt.Generator, discriminator: gt.Discriminator):
        super().__init__([gt.Player("discriminator", discriminator), gt.Player("generator", maker)])
    def objective(self, player, batch):
        raise AssertionError
class Labelled(gt.Game):
    def __init__(self, generator: gt.Generator, discriminator: gt.Discriminator):
        super().__init__([gt.Player("discriminator", discriminator), gt.Player("generator", generator)])
        self.generator = generator
    def objective(self, player, batch):
        return gt.Objective(self.generator(batch.normal("z", 4)).mean())
""",
}
HEAD = "import accelerate.tracking\nimport torch\nfrom torch import nn\n\nimport gantrain as gt\n\n"
UNTOLD, TOLD = "game.conditional=false", "game.conditional=true"
# Page -> how each of its mistakes is made.
MISTAKES = {
    "loss": [
        "game.loss={target: my_losses:NoMean}",
        "game.loss={target: my_losses:Relative}",
        "game.loss={target: my_losses:NotDerived}",
        "game.loss={target: my_losses:Smooth, smothing: 0.2}",
        "game.loss={target: my_losses:Smoth}",
    ],
    "network": [
        f"{UNTOLD} game.discriminator.model={{target: my_networks:Column}}",
        f"{TOLD} game.discriminator.model={{target: my_networks:Column}}",
        *(
            f"{UNTOLD} game.generator.model={{target: my_networks:{name}}}"
            for name in ("Labelled", "NoLatent", "Flat", "NoSpec")
        ),
    ],
    "penalty": [
        f"game.penalties=[{{target: my_penalties:{name}, weight: 1}}]" for name in ("NoMean", "Slope", "Empty")
    ],
    "augmentation": [f"game.augmentations=[{{target: my_changes:{name}}}]" for name in ("Cut", "Detached")],
    "data_set": [
        *(
            f"data={{target: my_data:{name}, batch_size: 8}}"
            for name in ("Transformed", "Normalised", "Integers", "Mixed", "Named", "Stream", "Broken")
        ),
        f"{TOLD} data={{target: my_data:Unlabelled, batch_size: 8}}",
    ],
    "metric": [
        f"evaluate.metrics=[fid,{{target: my_metrics:{name}}}] evaluate.features=digits-classifier evaluate.samples=300"
        for name in ("NoBetter", "Swapped", "Images", "Vector", "Other")
    ],
    "callback": [
        "callbacks=[{target: my_callbacks:NoSuper}]",
        "callbacks=[{target: my_callbacks:Short}]",
        f"{TOLD} callbacks=[{{target: my_callbacks:Fails}}]",
    ],
    "tracker": ["log.to=[{target: my_trackers:Nameless}]"],
    "optimizer": [
        f"game.generator.optimizer={{target: my_optimizers:{name}}}" for name in ("NoRate", "Closure", "NoStep")
    ],
    "outer_loop": [f"outer={{target: my_loops:{name}}}" for name in ("Idle", "Silent", "Bare")],
    "oracle": [f"game.generator.sharpness={{target: my_oracles:{name}}}" for name in ("Bare", "Nothing")],
    "constraint": [f"game.generator.constraint={{target: my_constraints:{name}}}" for name in ("Returns", "Graph")],
    "game": [
        *(
            f"game.target=my_games:{name}"
            for name in ("Bare", "Rows", "Detached", "OtherNames", "Unnamed", "Labelled", "Fails")
        ),
        "game.target=my_games:Bare samples.every=5",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mistake"), [(name, each) for name, made in MISTAKES.items() for each in made])
def test_a_mistake_ends_in_the_line_of_its_page(name, mistake, tmp_path, monkeypatch):
    for module, code in MODULES.items():
        (tmp_path / f"{module}.py").write_text(HEAD + code)
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    base = copy.deepcopy(DIGITS)
    base["data"]["batch_size"] = 64
    if name == "game":
        base = copy.deepcopy(DIGITS if "Labelled" in mistake else RING) | {"game": copy.deepcopy(RING["game"])}
        base["data"]["batch_size"] = 16
        del base["game"]["loss"], base["game"]["name"], base["samples"]
    if "OtherNames" in mistake:
        base["game"]["maker"] = base["game"].pop("generator")
    with pytest.raises(UserError) as error:
        train(load(write(tmp_path, base), ["run.steps=2", *re.split(r" (?=[\w.]+=)", mistake)]))
    said = plain(str(error.value).removeprefix("command line: "))
    assert said in plain("\n".join(blocks(f"docs/how_to/own_{name}.md", "text")))


def test_each_line_of_a_how_to_page_is_tried():
    for name, page in zip(EXAMPLES, PAGES, strict=True):
        lines = re.findall(r"^[\w.]+: |^\w+ \d+: |^a class-", "\n".join(blocks(page, "text")), re.MULTILINE)
        assert len(lines) == len(MISTAKES[name]), f"{page} has {len(lines)} lines of errors"
