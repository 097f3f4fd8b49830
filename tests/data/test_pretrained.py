"""Loading by name, from a hub that a server of the test stands for, and without any."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import language
import pytest
from forked import SECONDS
from later import later_or_skip

from gantrain.data.pretrained import load
from gantrain.errors import UserError

later_or_skip("transformers")


class Hub(BaseHTTPRequestHandler):
    """The files of one model, ``someone/tiny``, as the hub gives them."""

    prefix = "/someone/tiny/resolve/main/"

    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def answer(self, with_content):
        self.server.asked += 1
        path = self.server.folder / self.path.removeprefix(self.prefix)
        known = self.path.startswith(self.prefix) and path.is_file()
        content = path.read_bytes() if known else b""
        self.send_response(200 if known else 404)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content)))
        if known:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


PROGRAM = """
import torch
from gantrain.data.spec import DataSpec
from gantrain.models import HuggingFace
from gantrain.data.pretrained import load
splitter = load("data", "AutoTokenizer", "someone/tiny", "files")
network = HuggingFace(DataSpec((8,), 2, len(splitter), splitter.pad_token_id), "someone/tiny")
print(splitter("fine end")["input_ids"], float(network.network.bert.embeddings.word_embeddings.weight.sum()))
"""


@pytest.mark.slow
def test_a_name_is_taken_from_the_hub_once_and_from_the_cache_afterwards(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.folder, server.asked = language.bert(tmp_path / "tiny"), 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": address, "NO_PROXY": "127.0.0.1"}
        printed = []
        for _ in range(2):
            before = server.asked
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=SECONDS
            )
            assert done.returncode == 0, done.stderr
            printed.append(done.stdout)
            if before == 0:
                assert server.asked > 0
            else:
                assert server.asked == before, "nothing is asked again"
        server.shutdown()
    ids = [language.WORDS.index(word) for word in ("[CLS]", "fine", "end", "[SEP]")]
    assert printed[0] == printed[1] and printed[0].startswith(str(ids))


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing"])
def test_without_the_hub_one_line_says_what_to_put_where(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        load("model", "AutoConfig", name, "config.json and model.safetensors")
    assert str(error.value).startswith(
        f"model: {name} is neither a folder nor in the cache, and the Hugging Face hub did not give it; without the "
        "hub, put config.json and model.safetensors into a folder and write its path (OSError: "
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["./bert", "/nowhere/bert", "models/bert/base", "~/nowhere"])
def test_what_can_only_be_a_folder_is_not_looked_for_on_the_hub(name):
    with pytest.raises(
        UserError, match="^model: there is nothing at .* in /.*; expected a folder with config.json, or"
    ):
        load("model", "AutoConfig", name, "config.json")


def test_loading_is_quiet_and_leaves_the_reports_of_transformers_as_they_were(tmp_path, capfd):
    from transformers import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    language.bert(tmp_path)
    capfd.readouterr()
    load("model", "AutoModelForSequenceClassification", str(tmp_path), "files")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_fifo_in_a_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UserError, match="model: .*config.json is a FIFO, device or socket, expected only files"):
        load("model", "AutoModel", str(tmp_path), "config.json")
