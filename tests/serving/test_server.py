"""The app on a port: what only a socket shows."""

import json
import re
import signal
import socket
import subprocess
import sys

import pytest

import fcnproto

NET = "shapes-fcn8s"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    fcnproto.export(fcnproto.load_net(NET), fcnproto.load_weights(NET)).save(folder / "net.onnx")
    command = [sys.executable, "-m", "fcnproto", "serve", "--model", "net.onnx", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                yield int(found[1])
                break
        process.send_signal(signal.SIGINT)


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
