"""Make the pictures of the page again: `fcnproto serve` in a headless Chromium, on the demo's net.

    python docs/serve_pictures.py

Chromium and its chromedriver must be installed.
"""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from fcnproto.datasets import generated

PICTURES = Path(__file__).parent / "pictures"

DROP = """
const files = new DataTransfer();
for (const [name, content] of arguments[0]) {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  files.items.add(new File([bytes], name, { type: "image/png" }));
}
document.getElementById("drop").dispatchEvent(
  new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
"""


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The address of `fcnproto serve` with a model."""
    command = [sys.executable, "-m", "fcnproto", "serve", "--model", str(model), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            yield next(line for line in lines if line.startswith("http")).split()[0]
        finally:
            process.terminate()


@contextmanager
def browser(downloads: Path, *, dark: bool = False) -> Iterator[Chrome]:
    """A headless Chromium that saves files to a folder."""
    options = ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Without the path, selenium would look for one on the network.
    driver = Chrome(options, Service(shutil.which("chromedriver")))
    try:
        allowed = {"behavior": "allow", "downloadPath": str(downloads)}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
        if dark:
            feature = {"name": "prefers-color-scheme", "value": "dark"}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        yield driver
    finally:
        driver.quit()


def drop(driver: Chrome, images: dict[str, bytes]) -> None:
    """Drop images on the page, as a hand would."""
    files = [[name, base64.b64encode(content).decode()] for name, content in images.items()]
    driver.execute_script(DROP, files)


def wait(driver: Chrome, condition: str) -> None:
    """Until a condition, in JavaScript, holds."""
    WebDriverWait(driver, 30).until(lambda each: each.execute_script(f"return {condition}"))


def wait_until_done(driver: Chrome) -> None:
    """Until each image has its seconds."""
    states = "[...document.querySelectorAll('.state')]"
    wait(driver, f"{states}.length && {states}.every((each) => / s$/.test(each.textContent))")


def scenes(count: int) -> dict[str, bytes]:
    """Images that the net knows: of the demo's held-out ones."""
    reader = generated("shapes")
    found = {}
    (images,) = reader.images
    for index in range(count):
        content = io.BytesIO()
        Image.fromarray(reader.picture(images, index)).save(content, "PNG")
        found[f"{reader.names[index]}.png"] = content.getvalue()
    return found


def click_pixel(driver: Chrome) -> None:
    """Click on the middle of the image, and wait for its scores."""
    driver.find_element(By.ID, "stage").click()
    wait(driver, "document.querySelectorAll('#bars li').length > 0")


def main() -> None:
    """Make them."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "shapes-fcn8s.onnx"
        fcnproto = [sys.executable, "-m", "fcnproto"]
        export = ["export-onnx", "shapes-fcn8s", "--weights", "shapes-fcn8s", "-o", str(model)]
        subprocess.run([*fcnproto, *export], check=True)
        with served(model) as address:
            for picture, dark, width, height in (
                ("serve-light", False, 1200, 900),
                ("serve-dark", True, 1200, 900),
                ("serve-phone", False, 390, 1500),
            ):
                with browser(folder, dark=dark) as driver:
                    size = {"width": width, "height": height}
                    size |= {"deviceScaleFactor": 1, "mobile": width < 600}
                    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                    driver.get(address)
                    wait(driver, "!document.getElementById('model').textContent.includes('…')")
                    if not dark and width > 600:
                        driver.save_screenshot(str(PICTURES / "serve-empty.png"))
                    drop(driver, scenes(4))
                    wait_until_done(driver)
                    click_pixel(driver)
                    driver.save_screenshot(str(PICTURES / f"{picture}.png"))


if __name__ == "__main__":
    main()
