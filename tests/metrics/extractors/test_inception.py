"""The way to InceptionV3's weights, with random ones in a file of the right layout."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import pickle
import socket
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from image_sets import generated, images

from gantrain.config.metrics import value_for
from gantrain.errors import UserError
from gantrain.metrics import Inception, Options, evaluate, make_extractor
from gantrain.metrics.extractors import inception
from gantrain.metrics.frechet_distance import FrechetDistance

LAYERS = ["2048", "logits_unbiased"]


@pytest.fixture(scope="module")
def content() -> bytes:
    from torch_fidelity import FeatureExtractorInceptionV3

    class Layout(FeatureExtractorInceptionV3):
        """Its tensors, before any are loaded."""

        def load_state_dict(self, state):
            pass

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tensors = Layout("layout", LAYERS, feature_extractor_weights_path=nothing).state_dict()
        for name, tensor in tensors.items():
            if name.endswith("conv.weight"):
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("bn.weight", "bn.running_var")):
                tensor.uniform_(0.7, 1.3)
            elif name.endswith(("bn.bias", "bn.running_mean")):
                tensor.normal_(0, 0.1)
    assert len(tensors) == 566
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def file(content, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def digest(content) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def extractor(file, digest):
    before = torch.get_rng_state()
    made = make_extractor("inception", weights=str(file), digest=digest[:8])
    assert torch.equal(before, torch.get_rng_state())
    return made


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty cache of torch.hub, on a machine without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    def refuse(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return tmp_path / "hub" / "hub" / "checkpoints"


@pytest.fixture
def published(monkeypatch, digest, content, tmp_path):
    """The random weights as the published ones, on a server."""
    (tmp_path / "server").mkdir()
    path = tmp_path / "server" / "weights-inception-2015-12-05-6726825d.pth"
    path.write_bytes(content)
    monkeypatch.setattr(inception, "WEIGHTS", replace(inception.WEIGHTS, digest=digest, url=path.as_uri()))
    return path


def test_features_are_torch_fidelitys(extractor, file):
    from torch_fidelity import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3("theirs", LAYERS, feature_extractor_weights_path=str(file))
    rgb = torch.randint(0, 256, (2, 3, 24, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    grey = rgb[:, :1]
    for found, expected in ((extractor(rgb), theirs(rgb)), (extractor(grey), theirs(grey.repeat(1, 3, 1, 1)))):
        for ours, reference in zip(found, expected, strict=True):
            assert (ours - reference).norm() < 2e-6 * reference.norm() and reference.std() > 0.05


def test_weights_that_are_not_the_published_ones_never_give_a_fid(extractor, digest):
    label = f"inception-{digest[:8]}"
    report = evaluate(generated(), None, extractor, ["isc"], samples=2, options=Options(splits=2))
    assert list(report.values) == [f"inception_score[{label}]"]
    assert extractor.published is None
    assert value_for("fid").full_name(FrechetDistance().label(extractor)) == f"frechet_distance[{label}]"
    assert report.about["weights_sha256"] == digest and report.about["extractor"].endswith(digest[:8])
    assert "TensorFlow 1.x" in report.about["preprocessing"]


def test_the_published_weights_are_looked_for_in_torch_hubs_folder_first(published, hub, content, monkeypatch):
    hub.mkdir(parents=True)
    (hub / published.name).write_bytes(content)
    published.unlink()
    extractor = Inception()
    assert extractor.published == "inception" and FrechetDistance().label(extractor) is None


def test_missing_weights_are_downloaded_and_kept(published, hub, content):
    assert inception.WEIGHTS.read() == content
    assert (hub / published.name).read_bytes() == content
    assert [path.name for path in hub.iterdir()] == [published.name]


def test_a_download_that_went_wrong_is_not_kept(published, hub, content):
    published.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"the download failed \(what arrived has another SHA-256\); put file.* into"):
        Inception()
    assert not hub.exists()


def test_a_download_that_breaks_off_is_one_line(published, hub, monkeypatch):
    class Answer(io.BytesIO):
        def read(self, *_):
            raise http.client.IncompleteRead(b"1234", 996)

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer())
    with pytest.raises(UserError, match=r"the download failed \(IncompleteRead\(4 bytes read.* put file.* into"):
        inception.WEIGHTS.read()
    assert not hub.exists()


def test_offline_one_line_says_which_file_goes_where_and_what_works_without(hub):
    with pytest.raises(UserError) as caught:
        Inception()
    message = str(caught.value)
    assert "weights-inception-2015-12-05-6726825d.pth" in message and str(hub) in message
    assert "features: photos-classifier" in message and "Name or service not known" in message
    assert "\n" not in message


def test_the_published_digest_is_that_of_the_name():
    assert (
        inception.WEIGHTS.url.endswith(f"-{inception.WEIGHTS.digest[:8]}.pth") and len(inception.WEIGHTS.digest) == 64
    )


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def other_file(kind, content, folder) -> bytes:
    file = io.BytesIO()
    if kind == "truncated":
        return content[: len(content) // 2]
    if kind == "layout":
        torch.save({"weight": torch.zeros(3)}, file)
    elif kind == "list":
        torch.save([torch.zeros(3)], file)
    elif kind == "bomb":
        torch.save({"weight": Bomb(folder / "exploded")}, file)
    elif kind == "old bomb":
        return pickle.dumps(Bomb(folder / "exploded"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "not a file of weights"),
        ("layout", "1 tensors that are not those of torch-fidelity's InceptionV3"),
        ("list", "expected a state dict"),
        ("bomb", "holds more than tensors and could run code"),
        ("old bomb", "could run code|not a file of weights"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_though_its_digest_was_given(tmp_path, content, kind, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(other_file(kind, content, tmp_path))
    with pytest.raises(UserError, match=f"weights.pth: .*{message}") as caught:
        Inception(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    assert "\n" not in str(caught.value) and not (tmp_path / "exploded").exists()


def test_weights_nobody_vouches_for_are_refused(file, digest, tmp_path):
    with pytest.raises(
        UserError, match=f"random.pth: damaged, or not the weights.*begins {digest[:8]} instead of 6726825d"
    ):
        Inception(str(file))
    with pytest.raises(UserError, match=f"its SHA-256 is {digest[:16]}… and not 00000000…"):
        Inception(str(file), "00000000")
    with pytest.raises(UserError, match="digest: expected 8 to 64 hexadecimal digits"):
        Inception(str(file), digest[:7])
    with pytest.raises(UserError, match="digest: is that of a file of weights; name the file"):
        Inception(digest=digest)
    with pytest.raises(UserError, match="nowhere.pth: the weights .* cannot be read: there is nothing at"):
        Inception(str(tmp_path / "nowhere.pth"))
    os.mkfifo(tmp_path / "fifo.pth")
    with pytest.raises(UserError, match="fifo.pth: the weights .* cannot be read: is a FIFO, expected a file"):
        Inception(str(tmp_path / "fifo.pth"))


def test_a_damaged_file_in_torch_hubs_folder_is_refused(hub, content):
    hub.mkdir(parents=True)
    (hub / "weights-inception-2015-12-05-6726825d.pth").write_bytes(content)
    with pytest.raises(UserError, match="6726825d.pth: damaged, or not the weights .*; replace it by https"):
        Inception()


def test_images_of_other_channels_are_one_line(extractor):
    with pytest.raises(UserError, match="data: images of 2 channels, and InceptionV3.* takes grey ones and RGB"):
        evaluate(
            images(torch.zeros(2, 2, 8, 8, dtype=torch.uint8)), None, extractor, ["isc"], options=Options(splits=1)
        )


@pytest.mark.slow
def test_fid_is_torch_fidelitys_with_the_real_network(extractor, file, tmp_path):
    import torch_fidelity
    from image_sets import DIGITS, written

    folders = [written(tmp_path / str(i), DIGITS.samples[40 * i : 40 * i + 40]) for i in range(2)]
    theirs = torch_fidelity.calculate_metrics(
        input1=str(folders[0]), input2=str(folders[1]), fid=True, isc=True, cuda=False, cache=False, verbose=False,
        save_cpu_ram=True, feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(file),
    )  # fmt: skip
    with pytest.warns(match="singular"):
        ours = evaluate(*(images(DIGITS.samples[40 * i : 40 * i + 40]) for i in range(2)), extractor, ["fid", "isc"])
    assert ours[f"frechet_distance[{extractor.label}]"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    assert ours[f"inception_score[{extractor.label}]"] == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
