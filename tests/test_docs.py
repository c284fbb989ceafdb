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
from dataclasses import dataclass
from pathlib import Path

import docs_stand_in
import pytest
import stand_ins
from paths import ROOT

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
def environment(files, tmp_path_factory):
    """In which `fcnproto` is ours, and what is published comes from the stand-ins."""
    programs = tmp_path_factory.mktemp("programs")
    for name, arguments in (("fcnproto", f'"{docs_stand_in.__file__}" "$@"'), ("python", '"$@"')):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}\n')
        program.chmod(0o755)

    with stand_ins.served(files) as address:
        yield {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(docs_stand_in.__file__).parent)]),
            "OMP_NUM_THREADS": "1",  # tiny nets; two threads wait for each other
            "FCNPROTO_DOCS_THIN": "1",
            "FCNPROTO_DOCS_SERVER": address,
            "no_proxy": "127.0.0.1",
            "RAY_ADDRESS": "local",  # a cluster of its own, not one that runs here for others
        }


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
def test_the_blocks_of_a_page_run(page, files, environment, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(files, folder)
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
