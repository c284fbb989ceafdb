"""Fetching, from a server on this machine that behaves well and badly."""

import hashlib
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pooch
import pytest
from click.testing import CliRunner

import fcnproto as fp
from fcnproto import weights
from fcnproto.cli import main
from fcnproto.errors import WeightsError
from fcnproto.weights import fetch as fetching
from fcnproto.zoo import specs

NAME = "siftflow-fcn8s"  # its checksum is not known
FILE = "siftflow-fcn8s-heavy.caffemodel"
CHECKED = "voc-fcn8s"  # its checksum is


@pytest.fixture
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("content") / "w.caffemodel"
    weights.write(path, {"conv": [np.arange(100_000, dtype=np.float32)]})
    return path.read_bytes()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _seconds: None)


class Server(ThreadingHTTPServer):
    """Serves one content, and notes what was asked; `cuts` are lengths after which it hangs up."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.cuts, self.status = content, '"one"', [], 200
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append((self.path, wanted))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if wanted and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0) if server.cuts else len(body)])

    def log_message(self, *_args):
        pass


@contextmanager
def serving(content):
    server = Server(content)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(content):
    with serving(content) as running:
        yield running


def test_an_unknown_checksum_is_recorded_and_said(server, content, tmp_path):
    cache = tmp_path / "cache"
    fetched = fetching.fetch(NAME, server.url, cache)
    assert fetched.path.read_bytes() == content
    digest = hashlib.sha256(content).hexdigest()
    assert digest in str(fetched.notes[0])
    assert (cache / f"{FILE}.checksum").read_text() == f"sha256:{digest}\n"
    again = fetching.fetch(NAME, server.url, cache)
    assert not again.notes
    assert server.asked == [(f"/{FILE}", None)]  # the second time it was in the cache
    assert sorted(path.name for path in cache.iterdir()) == [FILE, f"{FILE}.checksum"]


def test_a_recorded_checksum_holds(server, tmp_path):
    path = fetching.fetch(NAME, server.url, tmp_path).path
    path.unlink()
    server.content = server.content[:-1] + b"\x00"
    with pytest.raises(WeightsError, match=r"hash .*does not match the known hash") as caught:
        fetching.fetch(NAME, server.url, tmp_path)
    assert "\n" not in str(caught.value)
    assert not path.exists()


def test_a_damaged_record_is_said(server, tmp_path):
    for damaged in (b"", b"\xff\xfe", b"md5:0"):
        (tmp_path / f"{FILE}.checksum").write_bytes(damaged)
        with pytest.raises(WeightsError, match="holds no sha256 checksum; remove it"):
            fetching.fetch(NAME, server.url, tmp_path)


def test_nothing_but_progress_goes_to_stderr(server, tmp_path, capfd):
    server.cuts = [1000]
    fetching.fetch(NAME, server.url, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_cache_is_fetched_again(server, content, tmp_path):
    path = fetching.fetch(NAME, server.url, tmp_path).path
    path.write_bytes(b"damaged")
    assert fetching.fetch(NAME, server.url, tmp_path).path.read_bytes() == content


def test_a_published_checksum_is_compared_from_the_first(server, tmp_path):
    with pytest.raises(WeightsError, match="c449ea74dd7d83751d1357d6a8c323fcf4038962"):
        fetching.fetch(CHECKED, server.url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_cut_connections_are_gone_on_from(server, content, tmp_path):
    server.cuts = [70_000, 140_000]
    assert fetching.fetch(NAME, server.url, tmp_path).path.read_bytes() == content
    assert [wanted for _, wanted in server.asked] == [
        None,
        f"bytes={2**16}-",
        f"bytes={3 * 2**16}-",
    ]


def test_what_came_is_kept_for_the_next_time(server, content, tmp_path):
    server.cuts = [70_000, 0, 0, 0]
    with pytest.raises(WeightsError, match=r"cannot be fetched.*what has come so far is kept"):
        fetching.fetch(NAME, server.url, tmp_path)
    assert (tmp_path / f"{FILE}.part").stat().st_size == 2**16
    server.asked.clear()
    assert fetching.fetch(NAME, server.url, tmp_path).path.read_bytes() == content
    assert server.asked == [(f"/{FILE}", f"bytes={2**16}-")]


def test_a_file_that_changed_in_between_is_fetched_from_the_start(server, content, tmp_path):
    server.cuts = [70_000, 0, 0, 0]
    with pytest.raises(WeightsError):
        fetching.fetch(NAME, server.url, tmp_path)
    server.etag = '"two"'
    server.content = bytes(content[:-4]) + b"\x00\x00\x00\x00"
    with pytest.raises(WeightsError):  # what came is no whole weight file
        fetching.fetch(NAME, server.url, tmp_path)
    server.content = content
    assert fetching.fetch(NAME, server.url, tmp_path).path.read_bytes() == content


def test_a_mirror_may_name_the_file_itself(server, tmp_path):
    fetching.fetch(NAME, f"{server.url}/elsewhere/other.caffemodel", tmp_path)
    assert server.asked == [("/elsewhere/other.caffemodel", None)]


def test_an_error_page_is_not_recorded(server, tmp_path):
    server.content = b"<html>not found, but with status 200</html>"
    with pytest.raises(WeightsError, match="a web page"):
        fetching.fetch(NAME, server.url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_refuses(server, tmp_path):
    server.status = 404
    with pytest.raises(WeightsError, match="the server answers 404 Not Found"):
        fetching.fetch(NAME, server.url, tmp_path)


def test_no_network(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(WeightsError, match=r"^http://127.* cannot be fetched: .*refused") as caught:
        fetching.fetch(NAME, url, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_net_without_published_weights(tmp_path):
    with pytest.raises(WeightsError, match="no published weights of 'fcn8'; did you mean"):
        fetching.fetch("fcn8", None, tmp_path)


def test_published_weights_belong_to_nets():
    assert set(fetching.published()) <= set(specs.nets())
    assert fetching.published()[CHECKED].checksum.startswith("sha1:")
    assert len({item.file for item in fetching.published().values()}) == 18


@pytest.mark.parametrize(
    ("name", "url", "checksum"),
    [
        (
            "vgg16",
            "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel",
            "sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
        ),
        (
            "bvlc_reference_caffenet",
            "http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel",
            "sha1:4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        ),
        (
            "bvlc_googlenet",
            "http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
            "sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204",
        ),
        (
            "bvlc_alexnet",
            "http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
            "sha1:9116a64c0fbe4459d18f4bb6b56d647b63920377",
        ),
    ],
)
def test_the_classifiers_to_start_from_are_those_of_the_model_zoo(name, url, checksum):
    item = fetching.published()[name]
    assert (item.url, item.checksum) == (url, checksum)
    backbone = specs.net(name).backbone
    assert fetching.published()[backbone].file == item.file


def test_each_has_a_licence_and_it_is_said(server, tmp_path, monkeypatch):
    assert all(item.licence for item in fetching.published().values())
    assert "Attribution" in fetching.published()["vgg16"].licence
    monkeypatch.setattr(fetching, "cache_folder", lambda: tmp_path)
    done = CliRunner().invoke(main, ["fetch", NAME, "--url", server.url])
    assert "licence: unrestricted use" in done.stderr
    assert done.stdout == f"{tmp_path / FILE}\n"
    done = CliRunner().invoke(main, ["fetch", "shapes-fcn8s"])
    assert "licence: BSD-2-Clause" in done.stderr
    assert "licence: BSD-2-Clause" in str(fp.fetch("shapes-fcn8s").notes[0])


def test_names_stand_for_fetched_files(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "cache_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match=f"fcnproto fetch {NAME}"):
        fetching.locate(NAME)
    path = fetching.fetch(NAME, server.url).path
    assert fetching.locate(NAME) == path
    assert str(fetching.locate("some.npz")) == "some.npz"
