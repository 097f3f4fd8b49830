"""The time and memory of FID's statistics in gantrain, torch-fidelity, clean-fid and torchmetrics.

    pip install clean-fid torchmetrics
    python scripts/bench/evaluation_speed.py [--images 32] [--rounds 3] [--threads 2] [--output FILE]

Each package computes the mean and covariance of the 2048 features of the same images with the same InceptionV3. Its
weights are random, in the layout of the published file, which takes the same time. The candidates take turns. gantrain
and torchmetrics are given a generator, which they sample in memory; the others, and gantrain a second time, are given a
folder of PNG files that was written beforehand. A package that is not installed is left out.

The second table has the memory that FID and the Inception score take beyond what the process had before, with 2048
features from a network that takes almost no memory. Each number is from a process of its own, on Linux.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import interleaved, machine, median_ratio
from torch import Tensor, nn

from gantrain.data import DataSpec
from gantrain.data.pixels import encode
from gantrain.distributed.processes import Processes
from gantrain.games.gan import GAN
from gantrain.games.losses import Hinge
from gantrain.metrics import Extractor, Folder, Generated, Inception, Output, Source
from gantrain.metrics.accumulators.moments import Moments
from gantrain.metrics.accumulators.score_sums import ScoreSums
from gantrain.metrics.extraction import Pass, extract
from gantrain.metrics.extractors.base import PathDistance
from gantrain.metrics.extractors.torch_fidelity import register
from gantrain.metrics.path_length import require_generator
from gantrain.metrics.sources.base import PIECE
from gantrain.models import ConvDiscriminator, ConvGenerator
from gantrain.plotting.images import save_png

RESULTS = Path(__file__).parent / "results"
METHODS = ("gantrain", "torch-fidelity")


def random_weights(folder: Path) -> Path:
    """A file in the layout of InceptionV3's published weights."""
    from torch_fidelity import FeatureExtractorInceptionV3

    class Layout(FeatureExtractorInceptionV3):
        def load_state_dict(self, *arguments: Any, **options: Any) -> None:
            pass

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    torch.manual_seed(0)
    tensors = Layout("layout", ["2048"], feature_extractor_weights_path=empty).state_dict()
    for name, tensor in tensors.items():
        if name.endswith("conv.weight"):
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
    torch.save(tensors, folder / "random.pth")
    return folder / "random.pth"


def generator(size: int) -> Generated:
    spec = DataSpec((3, size, size))
    torch.manual_seed(0)
    return Generated.of(GAN(ConvGenerator(spec), ConvDiscriminator(spec, width=8), Hinge(), spec=spec))


def pieces(source: Generated, samples: int) -> list[Tensor]:
    return [source.piece(i, min(PIECE, samples - i * PIECE), "cpu") for i in range(-(-samples // PIECE))]


def candidates(samples: int, batch: int, size: int, folder: Path) -> dict[str, Callable[[], Tensor]]:
    """name -> a function that computes mean and covariance of the features, and returns the mean."""
    from torch_fidelity import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_input_id_to_statistics

    weights = random_weights(folder)
    ours = Inception(str(weights), hashlib.sha256(weights.read_bytes()).hexdigest())
    theirs = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))
    source = generator(size)
    (folder / "images").mkdir()
    for i, image in enumerate(torch.cat(pieces(source, samples))):
        save_png(image, folder / "images" / f"{i:05d}.png")

    def gantrain(source: Source) -> Tensor:
        moments = Moments(2048)
        extract(source, samples, [Pass(ours, [moments])], batch, Processes())
        return moments.mean

    def torch_fidelity() -> Tensor:
        statistics = fid_input_id_to_statistics(
            1, theirs, "2048", input1=str(folder / "images"), batch_size=batch, cuda=False, cache=False, verbose=False
        )
        return torch.from_numpy(statistics["mu"])

    found: dict[str, Callable[[], Tensor]] = {
        "gantrain, generator": lambda: gantrain(source),
        "gantrain, PNG files": lambda: gantrain(Folder(folder / "images")),
        "torch-fidelity, PNG files": torch_fidelity,
    }
    if importlib.util.find_spec("cleanfid"):
        found["clean-fid, PNG files"] = clean_fid(theirs, folder / "images", batch)
    if importlib.util.find_spec("torchmetrics"):
        found["torchmetrics, generator"] = torchmetrics(weights, source, samples, batch)
    return found


def clean_fid(network: nn.Module, images: Path, batch: int) -> Callable[[], Tensor]:
    import numpy as np
    from cleanfid import fid

    def model(resized: Tensor) -> Tensor:
        with torch.no_grad():
            return network(resized.round().clamp(0, 255).to(torch.uint8))[0]

    def run() -> Tensor:
        features = fid.get_folder_features(
            str(images), model, num_workers=0, batch_size=batch, device=torch.device("cpu"), mode="clean", verbose=False
        )
        np.cov(features, rowvar=False)
        return torch.from_numpy(features.mean(0))

    return run


def torchmetrics(weights: Path, source: Generated, samples: int, batch: int) -> Callable[[], Tensor]:
    from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

    network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
    network.num_features = 2048

    def run() -> Tensor:
        metric = FrechetInceptionDistance(feature=network)
        with torch.no_grad():
            for images in torch.cat(pieces(source, samples)).split(batch):
                metric.update(images, real=False)
        return metric.fake_features_sum / samples

    return run


class Wide(Extractor):
    """2048 random features of images of 3 x 8 x 8 pixels."""

    name = label = "wide"
    weights = "0" * 64
    channels, dimensions, classes = 3, 2048, 1000
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.matrix = torch.randn(192, 2048, generator=torch.Generator().manual_seed(0)) / 14

    def require_shape(self, shape: tuple[int, ...], source: str) -> None:
        pass

    def __call__(self, images: Tensor) -> Output:
        features = (images.flatten(1).float() / 127.5 - 1) @ self.matrix
        return Output(features, features[:, : self.classes])

    @property
    def path_distance(self) -> PathDistance:
        raise NotImplementedError


def peak_memory(method: str, samples: int) -> float:
    """The memory in MB that this process takes at its peak beyond what it had when everything was loaded."""
    from torch_fidelity import GenerativeModelModuleWrapper
    from torch_fidelity.metric_fid import fid_features_to_statistics
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.utils import create_feature_extractor, get_featuresdict_from_generative_model

    torch.set_num_threads(1)
    source, paths = require_generator(generator(8))
    extractor = Wide()

    class Levels(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return encode(paths.generate(z, None, 0))

    def gantrain(n: int) -> Any:
        moments, sums = Moments(2048), ScoreSums(n, 10, extractor.classes, 2020)
        extract(source, n, [Pass(extractor, [moments, sums])], PIECE, Processes())
        return moments.covariance, sums.scores

    def torch_fidelity(n: int) -> Any:
        network = create_feature_extractor(register(extractor), ["features", "logits"], cuda=False, verbose=False)
        model = GenerativeModelModuleWrapper(Levels(), paths.latent_dim, "normal", 0)
        found = get_featuresdict_from_generative_model(model, network, n, PIECE, False, 0, False)
        return fid_features_to_statistics(found["features"]), isc_features_to_metric(found["logits"])

    run = {"gantrain": gantrain, "torch-fidelity": torch_fidelity}[method]
    run(10)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again from here
    before = resident("VmHWM")
    run(samples)
    return (resident("VmHWM") - before) / 1024


def resident(which: str) -> int:
    """An entry of Linux's status of this process, such as VmHWM, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which))


def in_a_fresh_process(method: str, samples: int) -> float:
    command = [sys.executable, __file__, "--measure", method, str(samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def table(arguments: argparse.Namespace) -> list[str]:
    lines = [machine(), f"load average at the start {os.getloadavg()[0]:.1f}", ""]
    n = arguments.images
    lines.append(f"{n} RGB images of {arguments.size} x {arguments.size} pixels, batches of {arguments.batch}, CPU")
    lines.append(f"{'':<28}{'images/s':>9}{'best':>8}{'time':>8}   mean of the features")
    with tempfile.TemporaryDirectory() as folder:
        found = candidates(n, arguments.batch, arguments.size, Path(folder))
        means = {name: run().double() for name, run in found.items()}
        seconds = interleaved(found, arguments.rounds, warmup=0)
    reference = "torch-fidelity, PNG files"
    for name, values in seconds.items():
        speeds = f"{n / statistics.median(values):>9.2f}{n / min(values):>8.2f}"
        ratio = median_ratio(values, seconds[reference])
        apart = ((means[name] - means[reference]).norm() / means[reference].norm()).item()
        lines.append(f"{name:<28}{speeds}{ratio:>8.2f}   {apart:.1e} from torch-fidelity's")
    lines.append("images/s: the median of the rounds, and the best; time: ratio of the medians to torch-fidelity's,")
    lines += ["target 0.80 and as fast as the fastest", ""]
    few, many = arguments.memory
    lines.append("peak memory of FID and Inception score, MB beyond that of ten samples")
    lines.append(f"{'':<28}{f'{few} samples':>16}{f'{many} samples':>16}")
    for method in METHODS:
        peaks = [in_a_fresh_process(method, samples) for samples in (few, many)]
        lines.append(f"{method:<28}" + "".join(f"{peak:>16.0f}" for peak in peaks))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs=2, default=[2000, 20000], metavar="SAMPLES")
    parser.add_argument("--output", type=Path, default=RESULTS / "evaluation_speed.txt")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.measure:
        method, samples = arguments.measure
        print(peak_memory(method, int(samples)))
        return
    torch.set_num_threads(arguments.threads)
    text = "\n".join(table(arguments)) + "\n"
    print(text, end="")
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
