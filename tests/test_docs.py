"""Every code block of the docs and the README runs, and the docs know every verb.

Each page has a folder of its own with small stand-ins for the files that it speaks of; its blocks
run there one after the other. Blocks of `sh` and `python` are run; of `console`, what they show
must be what is printed; one with a title is a file and is written; others are only read. A comment
before a block can say `exits with 1`, or which program it `needs`.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docs_stand_in
import numpy as np
import pytest
from paths import ROOT
from PIL import Image

from fcnproto import weights
from fcnproto.exporting.export import export
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.rendering import fcn
from fcnproto.runtime.session import Session
from fcnproto.surgery.fit import WeightSource
from fcnproto.zoo import specs

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
RUN_ELSEWHERE = ("install", "test", "tour", "train")  # by test_readme.py and .ci/train
RUN = ("sh", "python", "console")
READ_ONLY = ("text", "prototxt", "toml", "yaml")


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    notes: str
    content: str
    line: int


def blocks(page):
    """The fenced blocks of a page, each with the comments right before it."""
    text = (ROOT / page).read_text("utf-8")
    pattern = re.compile(
        r'((?:^<!--[^>]*-->\n)*)^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S
    )
    return [
        Block(match[2], match[3], match[1], match[4], text[: match.start(2)].count("\n") + 1)
        for match in pattern.finditer(text)
    ]


def is_elsewhere(block):
    return any(f"<!-- {mark} -->" in block.notes for mark in RUN_ELSEWHERE)


def page_with_blocks(page):
    return any(
        block.language not in READ_ONLY and not is_elsewhere(block) for block in blocks(page)
    )


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A folder with weights of every net under its published name, photographs and a dataset."""
    folder = tmp_path_factory.mktemp("stand-ins")
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((fcn, "render"), (docs_stand_in.fetch, "published")):
            patch.setattr(module, name, getattr(module, name))
        published = docs_stand_in.fetch.published()
        docs_stand_in.install()
        for net, item in published.items():
            arrays = weights_of(net)
            for file in (f"{net}.npz", item.file):
                weights.write(folder / file, arrays)
        make_model(folder)
        make_foreign(folder)
    make_dataset(folder)
    return folder


def make_dataset(folder):
    """Photographs, and a dataset of one's own with three classes."""
    rng = np.random.default_rng(0)
    pictures = [(rng.random((48, 64, 3)) * 255).astype(np.uint8) for _ in range(4)]
    Image.fromarray(pictures[0]).save(folder / "photo.jpg")
    places = ("photos", "data/images", "data/labels", "results", "labels")
    for place in places:
        (folder / place).mkdir(parents=True)
    for number, picture in enumerate(pictures):
        labels = Image.fromarray(picture[:, :, 0] // 86)
        for place in places:
            if place in ("photos", "data/images"):
                Image.fromarray(picture).save(folder / place / f"{number}.jpg")
            else:
                labels.save(folder / place / f"{number}.png")
    (folder / "depth").mkdir()
    slope = np.linspace(3000, 1500, 480)[:, np.newaxis] + np.zeros(640)
    Image.fromarray(slope.astype(np.uint16)).save(folder / "depth" / "0.png")
    (folder / "data" / "train.txt").write_text("0\n1\n2\n")
    (folder / "data" / "val.txt").write_text("3\n")
    (folder / "data" / "classes.txt").write_text("background\ncat\ndog\n")


def make_model(folder):
    """A net, its weights and its model; what Caffe might have computed; and a solver."""
    text = fcn.render("voc-fcn32s")
    (folder / "net.prototxt").write_text(text)
    net = parse_net(text, "net.prototxt")
    arrays = weights_of("voc-fcn32s")
    weights.write(folder / "net.npz", arrays)
    export(net, WeightSource("net.npz", arrays)).model.save(folder / "net.onnx")
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(folder / "net.onnx", folder / name)
    image = np.random.default_rng(2).standard_normal((1, 3, 40, 50)).astype(np.float32)
    results = Session(folder / "net.onnx", "cpu").run({"data": image})
    np.savez(folder / "dump.npz", **{"in/data": image, "out/score": results["score"]})
    data = """layer {
      name: "data" type: "Python" top: "data" top: "label"
      python_param {
        module: "fcnproto.caffe_layers.folder_layers" layer: "FolderSegDataLayer"
        param_str: "{'data_dir': 'data', 'split': 'train', 'seed': 1}"
      }
    }"""
    first = re.compile(r"^layer \{.*?^\}", re.M | re.S)
    (folder / "train.prototxt").write_text(
        first.sub(data, fcn.render("voc-fcn32s", phase="train"), count=1)
    )
    (folder / "solver.prototxt").write_text(
        'train_net: "train.prototxt" base_lr: 1e-12 lr_policy: "fixed" max_iter: 1\n'
        'snapshot_prefix: "snapshot/train"\n'
    )


def make_foreign(folder):
    """VGG16's weights as others name and lay them out."""
    arrays = weights_of("vgg16")
    fc6 = arrays["fc6"][0]
    arrays["fc6"][0] = fc6.reshape(-1, 8, 7, 7).transpose(0, 2, 3, 1).reshape(fc6.shape)
    other = {}
    for layer, (kernels, biases) in arrays.items():
        other[f"vgg_16/{layer}/weights"] = kernels.transpose(*range(2, kernels.ndim), 1, 0)
        other[f"vgg_16/{layer}/biases"] = biases
    np.savez(folder / "other.npz", **other)
    odd = {key.removeprefix("vgg_16/"): value for key, value in other.items()}
    odd["kernel_of_conv1"] = odd.pop("conv1_1/weights")
    np.savez(folder / "odd.npz", **odd)


def weights_of(net):
    """Random weights for a net of the zoo, as narrow as it is here."""
    assert net in specs.nets()
    graph = build(parse_net(fcn.render(net), net))
    shapes = infer(graph)
    rng = np.random.default_rng(1)
    found = {}
    for node, arrays in shapes.weights.items():
        layer = graph.nodes[node].layer
        found[layer.name] = [
            (rng.standard_normal(weight.shape) * 0.1).astype(np.float32) for weight in arrays
        ]
        if layer.type == "Deconvolution":  # upsampling connects no channels
            kernels = found[layer.name][0]
            kernels *= np.eye(*kernels.shape[:2], dtype=np.float32)[:, :, None, None]
    return {name: arrays for name, arrays in found.items() if arrays}


@pytest.fixture(scope="module")
def environment(stand_ins, tmp_path_factory):
    """In which `fcnproto` is ours, and what is published comes from the stand-ins."""
    programs = tmp_path_factory.mktemp("programs")
    for name, arguments in (("fcnproto", f'"{docs_stand_in.__file__}" "$@"'), ("python", '"$@"')):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}\n')
        program.chmod(0o755)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=stand_ins)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(docs_stand_in.__file__).parent)]),
            "OMP_NUM_THREADS": "1",  # tiny nets; two threads wait for each other
            "FCNPROTO_DOCS_THIN": "1",
            "FCNPROTO_DOCS_SERVER": f"http://127.0.0.1:{server.server_port}",
            "no_proxy": "127.0.0.1",
        }
        server.shutdown()


def run(block, folder, environment, place):
    """Run a block, which must end as it should; gives the lines that it printed."""
    program, content = ["bash", "-euo", "pipefail", "-c"], block.content
    if block.language == "python":
        program = ["python", "-c"]
        content = f"import docs_stand_in; docs_stand_in.install()\n{content}"
    elif block.language == "console":
        # It shows what is so of the real nets.
        environment = {**environment, "FCNPROTO_DOCS_THIN": ""}
        content = "\n".join(re.findall(r"^\$ (.*)$", content, re.M))
    done = subprocess.run(
        [*program, content],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    code = 1 if "<!-- exits with 1 -->" in block.notes else 0
    assert done.returncode == code, f"{place}\n{content}\n{done.stdout}"
    assert "Traceback" not in done.stdout, f"{place}\n{done.stdout}"
    return [line.rstrip() for line in done.stdout.splitlines()]


def shown(block):
    """The lines that a block says a command prints; … stands for some that are left out."""
    lines = [line.rstrip() for line in block.content.splitlines()]
    return [line for line in lines if line != "…" and not line.startswith("$ ")]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", *filter(page_with_blocks, PAGES)])
def test_the_blocks_of_a_page_run(page, stand_ins, environment, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(stand_ins, folder)
    environment = {**environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for block in blocks(page):
        place = f"{page}:{block.line}"
        needs = re.search(r"<!-- needs (\S+) -->", block.notes)
        if is_elsewhere(block) or (needs and shutil.which(needs[1]) is None):
            continue
        if block.title is not None:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.content, "utf-8")
        elif block.language not in READ_ONLY:
            printed = run(block, folder, environment, place)
            if block.language == "console":
                missing = [line for line in shown(block) if line not in printed]
                assert not missing, f"{place}: this is not printed: {missing}"


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_every_block_says_what_it_is(page):
    text = (ROOT / page).read_text("utf-8")
    fences = re.findall(r"^```(.*)$", text, re.M)
    found = blocks(page)
    assert len(fences) == 2 * len(found), f"{page}: a block without a language, or not closed"
    for block in found:
        assert block.language in (*RUN, *READ_ONLY), f"{page}:{block.line}"
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    indented = re.search(r"(?:^|\n)\n {4,}\S.*", prose)
    assert not indented, f"{page}: fence this block and name its language: {indented[0]}"


def test_links_lead_somewhere():
    for page in ["README.md", *PAGES]:
        text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_verb_has_its_line_and_its_usage(hooks):
    table = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "cli.md").read_text(), re.M)
    assert sorted(table) == sorted(hooks.verbs())
    for name, command in hooks.verbs().items():
        assert f"Usage: fcnproto {name}" in hooks.usage(name, command)
    pages = {path.stem for path in (ROOT / "docs" / "cli").glob("*.md")}
    assert pages <= set(hooks.verbs())


def test_every_layer_is_in_the_table(hooks):
    table = hooks.layer_table()
    assert "| `Crop` | Caffe | yes | yes |" in table
    assert "| `ReLU6` | MobileNet-YOLO | yes | yes |" in table
    assert hooks.LAYER_TABLE in (ROOT / "docs" / "layers.md").read_text()
