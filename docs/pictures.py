"""Make the pictures of the tour, the demo and the paper again, by their own commands.

    python docs/pictures.py

The demo's net is trained for it, which takes a few minutes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
FILES = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.M | re.S)
SHAPES = re.compile(r"^```sh\nfcnproto check solver.prototxt\n(.*?)^```$", re.M | re.S)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
TRAINING = re.compile(r"^<!-- train -->\n```sh\n(.*?)^```$", re.M | re.S)


def photo() -> Image.Image:
    """A landscape, 500 by 375, for want of a photograph that is ours."""
    image = Image.new("RGB", (500, 375), (150, 190, 225))
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, 260), (130, 110), (230, 230), (330, 130), (500, 270)], (110, 120, 140))
    draw.rectangle((0, 250, 500, 375), (105, 140, 80))
    draw.polygon([(210, 375), (245, 250), (258, 250), (330, 375)], (170, 160, 150))
    for x, y, size in ((70, 280, 50), (150, 265, 36), (400, 290, 64)):
        draw.rectangle((x - 4, y, x + 4, y + size), (90, 65, 45))
        draw.ellipse((x - size // 2, y - size, x + size // 2, y + 10), (45, 95, 50))
    return image


def run(command: str, folder: Path) -> None:
    """Run shell commands in a folder, with `python` and `fcnproto` of this interpreter."""
    command = re.sub(r"^fcnproto ", f"{sys.executable} -m fcnproto ", command, flags=re.M)
    command = re.sub(r"^python ", f"{sys.executable} ", command, flags=re.M)
    subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, check=True)


def main() -> None:
    """Make all of them."""
    PICTURES.mkdir(exist_ok=True)
    of_the_tour()
    of_the_paper()
    of_the_demo()


def of_the_paper() -> None:
    """The ten: the page's commands in order; a picture is called as the file or folder it is in."""
    page = (HERE / "paper.md").read_text("utf-8")
    with TemporaryDirectory() as name:
        folder = Path(name)
        for commands in COMMANDS.findall(page):
            run(commands, folder)
        for picture in re.findall(r"\(pictures/([^)]+)\)", page):
            file = folder / picture
            if not file.exists():
                (file,) = (folder / file.stem).glob("*.png")
            if file.suffix == ".svg":
                shutil.copy(file, PICTURES / picture)
            elif picture != "demo.png":
                Image.open(file).convert("RGB").quantize(256, kmeans=3).save(
                    PICTURES / picture, optimize=True
                )


def of_the_demo() -> None:
    """Images, label maps and the truth; and the course of the training."""
    (training,) = TRAINING.findall((HERE / "demo.md").read_text("utf-8"))
    with TemporaryDirectory() as name:
        folder = Path(name)
        run("fcnproto demo", folder)
        Image.open(folder / "demo" / "demo.png").quantize(256).save(
            PICTURES / "demo.png", optimize=True
        )
        run(training, folder)
        Image.open(folder / "snapshot" / "train_loss.png").quantize(64).save(
            PICTURES / "loss.png", optimize=True
        )


def of_the_tour() -> None:
    """A net, a receptive field, and a small net's label map."""
    tour = (HERE / "tour.md").read_text("utf-8")
    with TemporaryDirectory() as name:
        folder = Path(name)
        photo().save(folder / "photo.jpg", quality=90)
        for title, content in FILES.findall(tour):
            (folder / title).write_text(content, "utf-8")
        run("fcnproto render voc-fcn8s > net.prototxt", folder)
        run("fcnproto draw net.prototxt -o fcn8s.svg", folder)
        run("fcnproto explain field net.prototxt score_fr --image photo.jpg -o field.png", folder)
        run("python shapes.py", folder)
        (commands,) = SHAPES.findall(tour)
        run(commands, folder)
        (folder / "fcn8s.svg").replace(PICTURES / "fcn8s.svg")
        Image.open(folder / "field.png").quantize(64).save(PICTURES / "field.png", optimize=True)
        results = folder / "shapes-out"
        parts = [folder / "shapes/images/42.png", results / "42.png", results / "42.overlay.jpg"]
        row = Image.new("RGB", (3 * 200, 128), "white")
        for place, part in enumerate(parts):
            large = Image.open(part).convert("RGB").resize((192, 128), Image.Resampling.NEAREST)
            row.paste(large, (place * 204, 0))
        row.quantize(128).save(PICTURES / "shapes.png", optimize=True)


if __name__ == "__main__":
    main()
