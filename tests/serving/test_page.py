"""The page in a headless Chromium, and the interface against its own OpenAPI."""

import importlib.util
import json
import shutil
import time

import numpy as np
import pytest
from paths import ROOT
from PIL import Image

import fcnproto
from fcnproto.runtime.segmenter import Segmenter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def page():
    """The script that makes the docs' pictures, whose hands the tests use."""
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "serve_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "shapes-fcn8s.onnx"
    net = "shapes-fcn8s"
    fcnproto.export(fcnproto.load_net(net), fcnproto.load_weights(net)).save(path)
    return path


def saved(path):
    for _ in range(100):
        if path.exists():
            return path
        time.sleep(0.1)
    raise AssertionError(f"{path} was not saved")


def test_drop_legend_scores_and_saves(page, model, tmp_path):
    images = page.scenes(2)
    name, content = next(iter(images.items()))
    file = tmp_path / "scene.png"
    file.write_bytes(content)
    expected = Segmenter(model, device="cpu")(file)
    pixels = "document.getElementById('stage').toDataURL()"
    with page.served(model) as address, page.browser(tmp_path) as driver:
        driver.set_window_size(1200, 1600)
        driver.get(address)
        page.drop(driver, {**images, "<b>bad</b>.png": b"no image"})
        failed = "document.querySelectorAll('.state.bad').length === 1"
        page.wait(driver, failed)
        assert driver.execute_script("return document.querySelectorAll('#strip b').length") == 0

        before = driver.execute_script(f"return {pixels}")
        ring = driver.find_element("css selector", "#legend input:not([data-class='0'])")
        assert ring.is_selected()
        ring.click()
        assert driver.execute_script(f"return {pixels}") != before
        ring.click()
        assert driver.execute_script(f"return {pixels}") == before

        page.click_pixel(driver)
        x, y = driver.execute_script(
            "return document.getElementById('pixel').textContent.match(/\\d+/g).map(Number)"
        )
        bar = driver.find_element("css selector", "#bars .name").text
        assert bar == expected.name(int(expected.labels[y, x]))
        assert bar in driver.find_element("id", "readout").text

        for button in ("save-png", "save-overlay", "save-json"):
            driver.find_element("id", button).click()
        stem = name.removesuffix(".png")
        with Image.open(saved(tmp_path / f"{stem}.png")) as labels:
            assert np.array_equal(np.asarray(labels), expected.labels)
        with Image.open(saved(tmp_path / f"{stem}.overlay.png")) as overlay:
            assert overlay.size == expected.labels.shape[::-1]
        answer = json.loads(saved(tmp_path / f"{stem}.json").read_text("utf-8"))
        shares = {each["name"]: each["share"] for each in answer["maps"][0]["shares"]}
        assert shares == pytest.approx(dict(expected.shares))

        driver.find_element("css selector", "#strip li:last-child button").click()
        assert "cannot read it as an image" in driver.find_element("id", "alert").text
        # Chromium's log has what the strict headers would have refused.
        assert [each["message"] for each in driver.get_log("browser")] == []


def test_keyboard(page, model, tmp_path):
    with page.served(model) as address, page.browser(tmp_path) as driver:
        driver.get(address)
        page.drop(driver, page.scenes(1))
        page.wait_until_done(driver)
        stage = driver.find_element("id", "stage")
        stage.send_keys("\ue014")  # arrow right
        assert " at (" in driver.find_element("id", "readout").text
        stage.send_keys("\ue007")  # enter
        page.wait(driver, "document.querySelectorAll('#bars li').length > 0")


def test_documentation(page, model, tmp_path):
    with page.served(model) as address, page.browser(tmp_path) as driver:
        driver.get(f"{address}docs.html")
        page.wait(driver, "document.querySelectorAll('.endpoint').length >= 4")
        assert "POST /segment" in driver.find_element("id", "endpoints").text
