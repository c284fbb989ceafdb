"""The HTTP interface: what comes out is what the model says, and what is hostile gets words."""

import io
import json
import struct
import threading
import zlib

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import fcnproto
from fcnproto.datasets import generated
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.serving.app import create_app
from fcnproto.serving.batching import Batcher, Full
from fcnproto.serving.limits import FORMATS, Limits

NET = "shapes-fcn8s"


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / f"{NET}.onnx"
    fcnproto.export(fcnproto.load_net(NET), fcnproto.load_weights(NET)).save(path)
    return Segmenter(path, device="cpu")


@pytest.fixture(scope="module")
def client(segmenter):
    with TestClient(create_app(segmenter), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def image():
    reader = generated("shapes")
    (images,) = reader.images
    return reader.picture(images, 0)


def png(array, **options):
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG", **options)
    return content.getvalue()


def post(client, content, accept="application/json", **options):
    headers = {"Accept": accept, "Content-Type": "application/octet-stream"}
    headers |= options.pop("headers", {})
    return client.post("/segment", content=content, headers=headers, **options)


def unrolled(answer):
    (found,) = answer["maps"]
    numbers, counts = np.array(found["runs"]).reshape(-1, 2).T
    return np.repeat(numbers, counts).reshape(answer["height"], answer["width"])


def words(response, status):
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    return response.json()["error"]


def test_every_form_says_what_the_segmenter_says(client, segmenter, image):
    expected = segmenter(image)
    answer = post(client, png(image)).json()
    assert np.array_equal(unrolled(answer), expected.labels)
    shares = {each["name"]: each["share"] for each in answer["maps"][0]["shares"]}
    assert shares == pytest.approx(dict(expected.shares))
    labels = Image.open(io.BytesIO(post(client, png(image), "image/png").content))
    assert labels.mode == "P" and np.array_equal(np.asarray(labels), expected.labels)
    overlay = Image.open(io.BytesIO(post(client, png(image), "image/jpeg").content))
    content = io.BytesIO()
    expected.overlay().save(content, "JPEG", quality=90)
    assert np.array_equal(np.asarray(overlay), np.asarray(Image.open(content)))


def test_form_and_raw_body_are_the_same(client, image):
    hostile = '<img src=x onerror=alert(1)>/../../etc/passwd"; a="b.png'
    form = client.post("/segment", files={"image": (hostile, png(image), "text/html")})
    assert form.json()["maps"] == post(client, png(image)).json()["maps"]


@pytest.mark.parametrize("name", [*FORMATS, "MPO"])
def test_every_format_that_is_named_is_taken(client, image, name):
    content = io.BytesIO()
    Image.fromarray(image).save(content, name)
    assert post(client, content.getvalue()).status_code == 200


def test_methods(client):
    for path in ("/model", "/health", "/metrics", "/", "/app.js"):
        head = client.head(path)
        assert head.status_code == 200 and not head.content
        assert "cannot be done" in words(client.delete(path), 405)
    for method in ("GET", "PUT", "OPTIONS"):
        refused = client.request(method, "/segment")
        assert "cannot be done" in words(refused, 405) and refused.headers["allow"] == "POST"
    assert client.post("/segment/").status_code in (404, 405)


def test_scores_of_a_pixel(client, segmenter, image):
    answer = post(client, png(image), params={"x": 20, "y": 30}).json()
    expected = segmenter(image).scores[:, 30, 20]
    assert answer["maps"][0]["scores"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert "x=168" in words(post(client, png(image), params={"x": 168, "y": 0}), 422)
    assert "together" in words(post(client, png(image), params={"x": 1}), 422)
    assert "expected a number" in words(post(client, png(image), params={"x": -1, "y": 0}), 422)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("image/*", "image/png"),
        ("image/png;q=0.5, image/jpeg", "image/jpeg"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/json;q=0, */*", "image/png"),
    ],
)
def test_accept(client, image, accept, kind):
    assert post(client, png(image), accept).headers["content-type"] == kind


def test_nothing_accepted(client, image):
    assert "image/png" in words(post(client, png(image), "text/html"), 406)


def bomb(width, height):
    """A PNG that says it is large, of few bytes."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_hostile_bodies_get_words(client, image):
    assert "no bytes" in words(post(client, b""), 422)
    assert "cannot be read as an image" in words(post(client, b"<script>alert(1)</script>"), 422)
    assert "cannot be read" in words(post(client, png(image)[:2000]), 422)
    assert "million" in words(post(client, bomb(50_000, 50_000)), 413)
    assert "3000×3000" in words(post(client, bomb(3000, 3000)), 413)
    assert "cannot be read" in words(post(client, b"%!PS-Adobe-3.0 EPSF-3.0\n"), 422)
    assert "send the image" in words(post(client, b"{}", headers={"Content-Type": "a/b"}), 415)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert "form" in words(post(client, b"--y\r\nnothing", headers=form), 400)
    no_boundary = {"Content-Type": "multipart/form-data"}
    assert "form" in words(post(client, b"--y\r\n", headers=no_boundary), 400)
    assert "no file called image" in words(client.post("/segment", files={"other": b"1"}), 422)
    assert post(client, png(image)).status_code == 200


def test_bodies_are_bounded_whatever_they_say(segmenter):
    with TestClient(create_app(segmenter, Limits(body=1000))) as client:
        assert "larger than" in words(post(client, b"1" * 1001), 413)
        chunks = (b"1" * 100 for _ in range(100))
        assert "larger than" in words(post(client, chunks), 413)
    with TestClient(create_app(segmenter, Limits(bodies=1000))) as client:
        refused = post(client, b"1" * 2000)
        assert "try again" in words(refused, 503) and refused.headers["retry-after"]


def test_a_full_line_is_refused_and_recovers(segmenter, image):
    with TestClient(create_app(segmenter, Limits(waiting=0))) as client:
        refused = post(client, png(image))
        assert "try again" in words(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
    with TestClient(create_app(segmenter, Limits(waiting=1))) as client:
        for content in (png(image), b"no image", png(image)):
            assert post(client, content).status_code in (200, 422)
        assert client.get("/health").json()["waiting"] == 0


class _Model:
    """A runner that tells the sizes of its batches, and fails for one picture."""

    batch = None

    def __init__(self):
        self.batches, self.go = [], threading.Event()

    def run(self, pictures, _prepared, *, keep_scores):
        self.go.wait()
        self.batches.append(len(pictures))
        if any(each["data"].max() == 255 for each in pictures):
            raise ValueError("bad")
        labels = np.stack([each["data"][..., 0] for each in pictures])
        return type("Found", (), {"labels": {"score": labels}, "scores": {}})


def test_one_size_is_run_together_and_one_bad_image_harms_nobody():
    model = _Model()
    batcher = Batcher(model, 6)
    for _ in range(6):
        batcher.enter()
    with pytest.raises(Full):
        batcher.enter()
    small = [np.full((4, 4, 3), value, np.uint8) for value in (1, 255, 3)]
    large = [np.full((5, 5, 3), value, np.uint8) for value in (4, 5, 6)]
    order = [small[0], large[0], small[1], large[1], small[2], large[2]]
    answers = [batcher.ask({"data": each}, None, None) for each in order]
    batcher.start()
    model.go.set()
    for picture, answer in zip(order, answers, strict=True):
        if picture.max() == 255:
            with pytest.raises(ValueError, match="bad"):
                answer.result(10)
        else:
            assert np.array_equal(answer.result(10).labels["score"], picture[..., 0])
    assert model.batches == [3, 1, 1, 1, 3]
    batcher.stop()


def test_strict_headers_and_nothing_from_elsewhere(client):
    for path in ("/", "/app.js", "/style.css", "/docs.html", "/model", "/nothing"):
        response = client.get(path, headers={"Origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in response.headers
        assert "set-cookie" not in response.headers
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "https://" not in response.text
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    assert "other sites" in words(client.get("/model", headers=headers), 403)


@pytest.mark.parametrize("path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "//etc/passwd"])
def test_no_path_leads_out_of_the_page(client, path):
    assert client.get(path).status_code == 404


def test_names_of_the_server(segmenter):
    app = create_app(segmenter, hosts={"localhost", "[::1]"})
    with TestClient(app, base_url="http://localhost:8000") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health", headers={"Host": "[::1]:8000"}).status_code == 200
        rebound = client.get("/health", headers={"Host": "evil.example:8000"})
        assert "this name" in words(rebound, 403)


def test_model_and_metrics(client, image):
    model = client.get("/model").json()
    assert model["name"] == NET and model["maps"][0]["classes"][0] == "background"
    post(client, png(image))
    post(client, b"no image")
    text = client.get("/metrics").text
    assert 'fcnproto_requests_total{status="422"}' in text
    assert "fcnproto_batch_images_count" in text
    assert json.loads(client.get("/openapi.json").text)["paths"].keys() >= {"/segment", "/model"}
