"""Of the processes of a host one downloads, and the others wait for it."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from forked import SECONDS, together

from gantrain.metrics.extractors.weights import Weights
from gantrain.utils.host_lock import one_at_a_time

CONTENT = b"weights" * 1000


@pytest.fixture
def server():
    """A server of one file, which answers when three have asked or no other comes; and the list of its answers."""
    answers: list[str] = []
    three = threading.Barrier(3)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.append(self.path)
            with suppress(threading.BrokenBarrierError):
                three.wait(0.5)  # for others who would download as well
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}/weights.pth", answers
    found.shutdown()


def downloaded(url: str, folder: str) -> bytes:
    torch.hub.set_dir(folder)
    return Weights("file", url, hashlib.sha256(CONTENT).hexdigest(), "do without").read()


@pytest.mark.parametrize("there", [False, True])
def test_three_processes_download_a_file_once(server, tmp_path, there):
    url, answers = server
    if there:
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    assert together(downloaded, url, str(tmp_path / "hub"), world=3) == [CONTENT] * 3
    assert len(answers) == 1


def hold(folder: str, entered) -> None:
    with one_at_a_time(Path(folder)):
        entered.send("entered")
        threading.Event().wait()


def test_a_process_that_is_killed_gives_the_folder_free(tmp_path):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("forkserver")
    first, second = (context.Process(target=hold, args=(str(tmp_path), sender)) for _ in range(2))
    first.start()
    assert receiver.poll(SECONDS) and receiver.recv() == "entered"
    second.start()
    assert not receiver.poll(0.3)
    first.kill()
    assert receiver.poll(SECONDS) and receiver.recv() == "entered"
    second.kill()
    for process in (first, second):
        process.join(SECONDS)
    assert list(tmp_path.iterdir()) == []
