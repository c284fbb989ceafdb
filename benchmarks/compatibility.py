"""Every net of the zoo, with scores and with labels, in every runtime: docs/compatibility.md.

Each net is exported as `export-onnx` does it, and run at two sizes, if its sizes are open, by one
loaded model in each runtime. Weights are random. Nets have an eighth of their channels, but for
those of --full; these take half a gigabyte each and are made one at a time.

    python benchmarks/compatibility.py [-o docs/compatibility.md] [--nets NET…] [--full NET…]

With --rows FILE, what is done is kept there and not done again.

OpenVINO and OpenCV are found if they are installed; onnxruntime-web is installed into a temporary
folder by npm, and runs in Node and, through chromedriver, in Chromium.
"""

from __future__ import annotations

import argparse
import base64
import functools
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

import fcnproto
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.printer import format as printed
from fcnproto.proto.source import NetSource, parse_net
from fcnproto.rendering.fcn import render
from fcnproto.types import Array
from fcnproto.version import __version__

Feeds = Mapping[str, Array]
Outputs = Sequence[Mapping[str, Array]]

SIZES = ((2, 65, 82), (1, 90, 47))
LARGER = ((2, 231, 246), (1, 260, 227))  # for nets that see so much at once
IMAGE = 64  # the scale of an image less the mean
RESULTS: tuple[Literal["score", "labels"], ...] = ("score", "labels")
SECONDS = 900
REFERENCE = "onnxruntime"
BROWSER = "onnxruntime-web (Chromium)"


class AbsentError(Exception):
    """A runtime that is not to be had here."""


class FailedError(Exception):
    """A runtime that does not run a model, with what it says."""


# Nets -------------------------------------------------------------------------------------------


def net_of(name: str, full: bool) -> NetSource:
    """A net of the zoo, or the same with an eighth of the channels of all but its scores."""
    source = parse_net(render(name), name)
    for layer in source.net.layer:
        settings = (
            layer.inner_product_param if layer.type == "InnerProduct" else layer.convolution_param
        )
        is_score = "score" in layer.name or settings.num_output % 8
        if settings.num_output and not (full or is_score or name.startswith(SMALL)):
            settings.num_output = max(4, settings.num_output // 8)
    return source


SMALL = ("shapes", "vgg-small")  # which are thin as they are


def weights_of(source: NetSource) -> dict[str, list[Array]]:
    """Random weights that bring images to the scale of 1 and keep it there.

    So a softmax after them has more than one class to choose from.
    """
    graph = build(source)
    images = {top for node in graph.nodes if node.layer.feeds for top in node.tops}
    rng = np.random.default_rng(0)
    found: dict[str, list[Array]] = {}
    for index, arrays in infer(graph).weights.items():
        node = graph.nodes[index]
        layer = node.layer
        spread = 2 / (IMAGE if images.intersection(node.bottoms) else 1) ** 2
        made = []
        for weight in arrays:
            array = rng.standard_normal(weight.shape, np.float32)
            if len(weight.shape) > 1:
                array *= np.float32((spread / np.prod(weight.shape[1:])) ** 0.5)
            else:
                array *= np.float32(0.1)
            if layer.type == "Deconvolution" and len(weight.shape) == 4:  # channels by themselves
                array = np.abs(array) * np.eye(*weight.shape[:2], dtype=np.float32)[..., None, None]
            made.append(array)
        if made:
            found[layer.name] = made
    return found


def feeds_of(model: fcnproto.Model) -> list[Feeds]:
    """Images less the mean, in two sizes if they are open, else in batches of two and of one."""
    rng = np.random.default_rng(1)
    inputs, outputs = (
        {
            value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
            for value in values
        }
        for values in (model.proto.graph.input, model.proto.graph.output)
    )
    is_dense = all(sizes[-2:] == ["H", "W"] for sizes in outputs.values())
    return [
        {
            name: rng.uniform(
                -2 * IMAGE,
                2 * IMAGE,
                [
                    size if isinstance(size, int) else other
                    for size, other in zip(sizes, (n, 0, h, w), strict=True)
                ],
            ).astype(np.float32)
            for name, sizes in inputs.items()
        }
        for n, h, w in (SIZES if is_dense else LARGER)
    ]


# Runtimes: each has its process, for one that falls must not take the others with it -------------


def in_onnxruntime(path: Path, feeds: Sequence[Feeds]) -> Outputs:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return [dict(zip(names, session.run(names, dict(feed)), strict=True)) for feed in feeds]


def in_openvino(path: Path, feeds: Sequence[Feeds]) -> Outputs:
    import openvino

    core = openvino.Core()
    precision = {"INFERENCE_PRECISION_HINT": "f32", "CACHE_DIR": ""}
    model = core.compile_model(core.read_model(path), "CPU", precision)
    return [
        {output.any_name: np.array(array) for output, array in model(dict(feed)).items()}
        for feed in feeds
    ]


def in_opencv(path: Path, feeds: Sequence[Feeds]) -> Outputs:
    import cv2

    net = cv2.dnn.readNetFromONNX(str(path))
    names = net.getUnconnectedOutLayersNames()
    results = []
    for feed in feeds:
        for name, array in feed.items():
            net.setInput(array, name)
        results.append(dict(zip(names, map(np.array, net.forward(names)), strict=True)))
    return results


def in_reference(path: Path, feeds: Sequence[Feeds]) -> Outputs:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    return [
        dict(zip(evaluator.output_names, evaluator.run(None, dict(feed)), strict=True))
        for feed in feeds
    ]


PYTHON = {
    REFERENCE: (in_onnxruntime, ("onnxruntime-gpu", "onnxruntime")),
    "OpenVINO": (in_openvino, ("openvino",)),
    "OpenCV": (in_opencv, ("opencv-python-headless", "opencv-python")),
    "onnx's reference evaluator": (in_reference, ("onnx",)),
}


class InPython:
    """A runtime that is a Python package."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.process = ProcessPoolExecutor(1, get_context("spawn"))

    @property
    def version(self) -> str:
        for package in PYTHON[self.title][1]:
            with suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version(package)
        raise AbsentError(f"{PYTHON[self.title][1][0]} is not installed")

    def __call__(self, folder: Path) -> Outputs:
        try:
            found = self.process.submit(outputs_or_error, self.title, folder).result(SECONDS)
        except (BrokenExecutor, TimeoutError) as error:
            self.close()
            self.process = ProcessPoolExecutor(1, get_context("spawn"))
            reason = (
                "its process falls" if isinstance(error, BrokenExecutor) else "it takes too long"
            )
            raise FailedError(reason) from error
        if isinstance(found, str):
            raise FailedError(one_line(found, folder))
        return found

    def close(self) -> None:
        for process in list((self.process._processes or {}).values()):
            process.kill()
        self.process.shutdown()


def outputs_or_error(title: str, folder: Path) -> Outputs | str:
    """What a runtime gives, or what it says; its exceptions may not go from process to process."""
    feeds = from_json(json.loads((folder / "feeds.json").read_text()))
    try:
        return PYTHON[title][0](folder / "model.onnx", feeds)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class InNode:
    """onnxruntime-web in Node; `web` is the folder where npm has installed it."""

    web: Path

    @property
    def version(self) -> str:
        node = started(["node", "--version"]).stdout.strip()
        return f"{web_version(self.web)}, Node {node.removeprefix('v')}"

    def close(self) -> None:
        """Nothing: each model is run by a process of its own."""

    def __call__(self, folder: Path) -> Outputs:
        program = self.web / "compatibility.mjs"
        done = started(["node", str(program), str(folder), "wasm"])
        if done.returncode:
            raise FailedError(said(done, folder))
        return from_json(json.loads(done.stdout))


class InChromium:
    """onnxruntime-web in Chromium, on a page of this machine."""

    def __init__(self, web: Path) -> None:
        self.web = web
        self.driver: Any = None
        handler = functools.partial(Quiet, directory=web)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        (web / "page.html").write_text("<!doctype html><title>compatibility</title>")
        self.start()

    def start(self) -> None:
        try:
            from selenium.webdriver import Chrome, ChromeOptions, ChromeService
        except ImportError as error:
            raise AbsentError("selenium is not installed") from error
        program = shutil.which("chromedriver")
        if program is None:
            raise AbsentError("chromedriver is not installed")
        options = ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        self.driver = Chrome(options, ChromeService(program))
        self.driver.set_script_timeout(SECONDS)
        self.driver.get(f"http://127.0.0.1:{self.server.server_port}/page.html")

    @property
    def version(self) -> str:
        browser = self.driver.capabilities["browserVersion"]
        return f"{web_version(self.web)}, Chromium {browser}"

    def __call__(self, folder: Path) -> Outputs:
        from selenium.common.exceptions import WebDriverException

        case = self.web / "case"
        case.unlink(missing_ok=True)
        case.symlink_to(folder)
        try:
            found = self.driver.execute_async_script(CHROMIUM)
        except WebDriverException as error:
            self.close()
            self.start()
            raise FailedError(f"the browser fell: {(error.msg or '').splitlines()[0]}") from error
        if "error" in found:
            raise FailedError(one_line(found["error"], folder))
        return from_json(found["results"])

    def close(self) -> None:
        from selenium.common.exceptions import WebDriverException

        with suppress(WebDriverException):
            self.driver.quit()


CHROMIUM = """
const done = arguments[arguments.length - 1];
(async () => {
  const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
  const { run } = await import("/compatibility.mjs");
  const feeds = await (await fetch("/case/feeds.json", { cache: "no-store" })).json();
  const model = await (await fetch("/case/model.onnx", { cache: "no-store" })).arrayBuffer();
  return { results: await run(ort, new Uint8Array(model), feeds, "wasm") };
})().then(done, (error) => done({ error: String(error?.message ?? error) }));
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def web_version(web: Path) -> str:
    package = web / "node_modules" / "onnxruntime-web" / "package.json"
    return str(json.loads(package.read_text())["version"])


def installed_web(web: Path) -> None:
    """Have npm install onnxruntime-web into a folder."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        raise AbsentError(f"{missing[0]} is not installed")
    web.mkdir()
    done = started(["npm", "install", "--prefix", str(web), "onnxruntime-web"])
    if done.returncode:
        raise AbsentError(f"npm cannot install onnxruntime-web: {one_line(done.stderr, web)}")
    shutil.copy(Path(__file__).with_suffix(".mjs"), web)


def started(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"not done after {SECONDS} s")


def said(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    """The line of what a process wrote that says what went wrong."""
    if done.returncode < 0:
        return f"it ends by signal {-done.returncode}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b|error", line)]
    return one_line((errors or lines or ["it says nothing"])[-1], folder)


def one_line(text: str, folder: Path) -> str:
    """A message without line breaks and the places of this machine."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text.replace(f"{folder}/", ""))
    text = re.sub(r"(?<![\w.])(/[\w.+-]+)+/", "", text)
    return " ".join(text.split())[:240]


# Between processes --------------------------------------------------------------------------


def as_json(many: Sequence[Feeds]) -> str:
    return json.dumps(
        [
            {
                name: {
                    "type": array.dtype.name,
                    "dims": array.shape,
                    "data": base64.b64encode(array.tobytes()).decode(),
                }
                for name, array in each.items()
            }
            for each in many
        ]
    )


def from_json(many: list[dict[str, Any]]) -> Outputs:
    return [
        {
            name: np.frombuffer(base64.b64decode(found["data"]), found["type"]).reshape(
                found["dims"]
            )
            for name, found in each.items()
        }
        for each in many
    ]


# The page -----------------------------------------------------------------------------------------


def difference(found: Outputs, expected: Outputs) -> float:
    """The largest: of scores by the largest magnitude, of labels the share of pixels."""
    most = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        for name, right in theirs.items():
            array = ours[name]
            if array.shape != right.shape:
                raise FailedError(f"'{name}' is {list(array.shape)} instead of {list(right.shape)}")
            if right.dtype.kind == "f":
                away = float(np.abs(array - right).max() / np.abs(right).max())
                if not np.isfinite(away):
                    raise FailedError(f"'{name}' is not finite")
            else:
                away = float(np.mean(array != right))
            most = max(most, away)
    return most


def cell(value: float, result: str) -> str:
    if result == "score":
        return f"{value:.1e}"
    return f"{value:.2%}" if value else "0"


Row = tuple[str, str, Mapping[str, str]]
"""A net, the kind of its result, and by runtime a cell, or after ! why it does not run."""


@dataclass(frozen=True)
class Rows:
    """Rows as they are made, and in a file those that were made before."""

    runtimes: Mapping[str, Any]
    folder: Path
    file: Path | None

    def __call__(self, names: Sequence[str], full: bool) -> Iterator[Row]:
        before = self._before()
        for name in names:
            made = [before.get((name, result, full)) for result in RESULTS]
            for result, cells in zip(RESULTS, made, strict=True) if all(made) else ():
                yield name, result, cells or {}
            if not all(made):
                for row in self._made(name, full):
                    print(*row, file=sys.stderr, flush=True)
                    if self.file is not None:
                        with self.file.open("a") as file:
                            file.write(json.dumps([*row[:2], full, row[2]]) + "\n")
                    yield row

    def _before(self) -> dict[tuple[str, str, bool], dict[str, str]]:
        if self.file is None or not self.file.exists():
            return {}
        lines = map(json.loads, self.file.read_text().splitlines())
        return {(name, result, full): cells for name, result, full, cells in lines}

    def _made(self, name: str, full: bool) -> Iterator[Row]:
        source = net_of(name, full)
        net, weights = fcnproto.load_net(printed(source.net)), weights_of(source)
        for result in RESULTS:
            case = self.folder / "case"
            case.mkdir()
            try:
                model = fcnproto.export(net, fcnproto.Weights(weights), result=result)
            except fcnproto.FcnprotoError as error:
                yield name, result, dict.fromkeys(self.runtimes, f"!{error.problems[0].message}")
            else:
                model.save(case / "model.onnx")
                (case / "feeds.json").write_text(as_json(feeds_of(model)))
                del model
                yield name, result, dict(cells(self.runtimes, case, result))
            shutil.rmtree(case)


def cells(runtimes: Mapping[str, Any], case: Path, result: str) -> Iterator[tuple[str, str]]:
    try:
        expected = runtimes[REFERENCE](case)
    except FailedError as error:
        yield from dict.fromkeys(runtimes, f"!{REFERENCE}: {error}").items()
        return
    for title, runtime in runtimes.items():
        if title == REFERENCE:
            yield title, "runs"
            continue
        try:
            yield title, cell(difference(runtime(case), expected), result)
        except FailedError as error:
            yield title, f"!{error}"


def table(found: Sequence[Row], reasons: list[str]) -> Iterator[str]:
    """Lines of a table with a net in each row; reasons are numbered, and appended to `reasons`."""
    titles = list(found[0][2])
    yield f"| net | {' | '.join(titles)} |"
    yield f"|---|{'---|' * len(titles)}"
    nets = list(dict.fromkeys(name for name, _, _ in found))
    for net in nets:
        by_result = {result: row for name, result, row in found if name == net}
        texts = []
        for title in titles:
            parts = [noted(by_result[result][title], reasons) for result in RESULTS]
            texts.append(parts[0] if len(set(parts)) == 1 else " · ".join(parts))
        yield f"| {net} | {' | '.join(texts)} |"


def noted(text: str, reasons: list[str]) -> str:
    if not text.startswith("!"):
        return text
    if text[1:] not in reasons:
        reasons.append(text[1:])
    return f"no ({reasons.index(text[1:]) + 1})"


PAGE = """# Where our models run

<!-- Made by benchmarks/compatibility.py; do not edit. -->

Models that `export-onnx` writes keep to the ONNX standard, so more than onnxruntime runs them.
`benchmarks/compatibility.py` made this page. It exports nets of the zoo with scores and with
labels (`--result`), at opset 21 and `--optimize exact`. Each model is loaded once in every runtime
and run on {sizes}; classifiers on {larger}
where their size is not fixed. All compute in float32 on the CPU.

{versions}

A cell has two entries, for scores and for labels: the largest difference from onnxruntime's scores
as a share of the largest magnitude in the blob, and the share of labels that differ.
*no* has a number that says below why. One entry stands for both where they are the same.

## Thin nets

With an eighth of the channels of all layers but those of scores (vgg-small and the nets of shapes
are thin as they are), and with random weights.

{thin}
{full}{known}{reasons}{left}{absent}"""

ALL_RUN = "\nEach of these nets runs in every runtime.\n"

LRN = """
onnx's reference evaluator is further away where a net has LRN, as those of AlexNet, CaffeNet and
GoogLeNet do: it normalizes only as many channels as there are images in the batch. The others
agree.
"""


def lrn_is_wrong() -> bool:
    """Whether onnx's reference evaluator leaves channels out of LRN, here x / (1 + x²)."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    node = helper.make_node("LRN", ["x"], ["y"], size=1, alpha=1.0, beta=1.0, bias=1.0)
    x = np.ones((1, 4, 1, 1), np.float32)
    (y,) = ReferenceEvaluator(node).run(None, {"x": x})
    return not np.allclose(y, x / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--nets", nargs="*", default=list(fcnproto.nets().nets))
    parser.add_argument("--full", nargs="*", default=[])
    parser.add_argument("--rows", type=Path, help="keeps what is done; it is not done again")
    options = parser.parse_args()
    with TemporaryDirectory() as name, ExitStack() as closing:
        folder = Path(name)
        runtimes, absent = available(folder / "web")
        for runtime in runtimes.values():
            closing.callback(runtime.close)
        heads = [f"- {title} {runtime.version}" for title, runtime in runtimes.items()]
        rows = Rows(runtimes, folder, options.rows)
        thin, full = list(rows(options.nets, full=False)), list(rows(options.full, full=True))
    text = page(heads, thin, full, absent)
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text)


def page(
    heads: Sequence[str],
    thin: Sequence[Row],
    full: Sequence[Row],
    absent: Sequence[tuple[str, str]],
) -> str:
    reasons: list[str] = []
    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    tables = ["\n".join(table(each, reasons)) for each in (thin, full) if each]
    return (
        PAGE.format(
            sizes=said_of(SIZES),
            larger=said_of(LARGER),
            versions="\n".join([*heads, f"- fcnproto {__version__}, {machine}"]),
            thin=tables[0],
            full=section(
                "Nets as they are", ["With random weights.", "", tables[1]] if full else []
            ),
            reasons=section("What does not run", numbered(reasons)) or ALL_RUN,
            known=LRN if lrn_is_wrong() else "",
            left=section("Nets that were left out", left_out(thin)),
            absent=section(
                "What was not to be had", [f"- {title}: {why}" for title, why in absent]
            ),
        ).rstrip("\n")
        + "\n"
    )


def said_of(sizes: Sequence[tuple[int, int, int]]) -> str:
    return " and ".join(f"{n} image{'s' * (n > 1)} of {h}×{w}" for n, h, w in sizes)


def left_out(found: Sequence[Row]) -> list[str]:
    """The nets of the zoo that were not asked for."""
    names = {name for name, _, _ in found}
    left = [name for name in fcnproto.nets().nets if name not in names]
    return [f"{', '.join(left)}: of these this page says nothing."] if left else []


def numbered(reasons: Sequence[str]) -> list[str]:
    return [f"{number}. `{reason}`" for number, reason in enumerate(reasons, 1)]


def section(title: str, lines: Sequence[str]) -> str:
    return f"\n## {title}\n\n" + "\n".join(lines) + "\n" if lines else ""


def available(web: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The runtimes that are there, and of the others why they are not."""
    found: dict[str, Any] = {}
    absent: list[tuple[str, str]] = []

    def try_it(title: str, make: Any) -> None:
        try:
            runtime = make()
            runtime.version  # noqa: B018 - which says whether it is there
        except AbsentError as error:
            absent.append((title, str(error)))
        else:
            found[title] = runtime

    for title in PYTHON:
        try_it(title, functools.partial(InPython, title))
    try:
        installed_web(web)
    except AbsentError as error:
        absent.append(("onnxruntime-web", str(error)))
    else:
        try_it("onnxruntime-web (Node)", functools.partial(InNode, web))
        try_it(BROWSER, functools.partial(InChromium, web))
    return found, absent


if __name__ == "__main__":
    main()
