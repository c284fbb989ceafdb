"""The app on a port: what only a socket shows."""

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from urllib.request import Request, urlopen

import numpy as np
import pytest
from paths import GOLDEN
from PIL import Image

import fcnproto

NET = "shapes-fcn8s"


@contextmanager
def served(folder, *flags):
    """The port of a server of net.onnx in a folder, and what it said before."""
    command = [sys.executable, "-m", "fcnproto", "serve", "--model", "net.onnx", "--port", "0"]
    with subprocess.Popen(
        [*command, *flags], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                yield int(found[1]), "".join(said)
                break
        else:
            pytest.fail("".join(said))
        process.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    fcnproto.export(fcnproto.load_net(NET), fcnproto.load_weights(NET)).save(folder / "net.onnx")
    with served(folder) as (port, _):
        yield port


def answer(port, head, body):
    """The status and words for a request whose client sends nothing more after it."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        lines = ["POST /segment HTTP/1.1", f"Host: localhost:{port}", *head, "", ""]
        client.sendall("\r\n".join(lines).encode() + body)
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, content = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)["error"]


@pytest.mark.slow
def test_a_body_shorter_than_it_says_is_refused_in_words(port):
    status, words = answer(port, ["Content-Length: 5000"], b"1" * 100)
    assert status == 400 and "shorter than its Content-Length" in words


@pytest.mark.slow
def test_a_client_that_sends_no_more_is_answered(port):
    status, words = answer(port, ["Content-Length: 5"], b"image")
    assert status == 422 and "cannot be read as an image" in words
    status, words = answer(port, ["Transfer-Encoding: chunked"], b"5\r\nima")
    assert status == 422


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "words"),
    [((), "is applied to 'unary'"), (("--refine", "none"), "of 'unary' is left out")],
)
def test_a_mean_field_is_said_and_can_be_left_out(tmp_path, flags, words):
    net = GOLDEN / "crfrnn" / "crfrnn_net_it10"
    model = fcnproto.export(f"{net}.prototxt", f"{net}.caffemodel", mean=(0, 0, 0))
    model.save(tmp_path / "net.onnx")
    picture = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    with served(tmp_path, *flags) as (port, said):
        assert words in said
        request = Request(
            f"http://127.0.0.1:{port}/segment",
            (tmp_path / "a.png").read_bytes(),
            {"Accept": "image/png", "Content-Type": "image/png"},
        )
        with urlopen(request, timeout=20) as response:
            found = np.asarray(Image.open(response))
    segmenter = fcnproto.Segmenter(tmp_path / "net.onnx", refine=flags[-1] if flags else None)
    np.testing.assert_array_equal(found, segmenter(picture).labels)
