"""draw.py: what stands in the picture, in its file formats, and the page in a real browser."""

import io
import json
import re
import shutil
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.errors import FcnprotoError
from fcnproto.insight import draw
from fcnproto.insight.draw import COLOURS, dot, picture
from fcnproto.layers.base import Kind
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render

SVG = "{http://www.w3.org/2000/svg}"

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is missing")


def net(text):
    return build(parse_net(text))


@pytest.fixture
def fcnproto(tmp_path, monkeypatch):
    """Run the program in an empty directory; gives the result."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, list(words))


# What is in it --------------------------------------------------------------------------------


def test_in_place_layers_are_folded_into_theirs():
    found = picture(net(render("vgg16")))
    boxes = {box.rows[0].name: [row.name for row in box.rows] for box in found.boxes}
    assert boxes["conv1_1"] == ["conv1_1", "relu1_1"]
    assert boxes["fc6"] == ["fc6", "relu6", "drop6"]
    assert len(boxes) == 1 + 13 + 5 + 3 + 1
    assert sum(map(len, boxes.values())) == len(found.graph.nodes)


def test_the_trunk_is_one_column_and_skips_are_others():
    found = picture(net(render("voc-fcn8s")))
    names = {box.index: box.rows[0].name for box in found.boxes}
    columns = [[names[index] for index in column] for column in found.columns]
    assert columns[0][:3] == ["input", "conv1_1", "conv1_2"]
    assert columns[0][-7:] == [
        "score_fr",
        "upscore2",
        "fuse_pool4",
        "upscore_pool4",
        "fuse_pool3",
        "upscore8",
        "score",
    ]
    assert sorted(columns[1:]) == [
        ["score_pool3", "score_pool3c"],
        ["score_pool4", "score_pool4c"],
    ]


def test_every_box_stands_in_one_column():
    for name in ("googlenet", "siftflow-fcn8s", "nyud-fcn32s-color-hha"):
        found = picture(net(render(name)))
        indices = [index for column in found.columns for index in column]
        assert sorted(indices) == [box.index for box in found.boxes]


def test_what_only_gives_its_size_is_dashed():
    source = dot(picture(net(render("voc-fcn32s"))))
    dashed = re.findall(r"n(\d+) -> n(\d+) \[style=dashed", source)
    found = picture(net(render("voc-fcn32s")))
    names = {str(box.index): box.rows[0].name for box in found.boxes}
    assert [(names[a], names[b]) for a, b in dashed] == [("input", "score")]


def test_layers_are_coloured_by_kind():
    found = picture(net(render("voc-fcn8s")))
    kinds = {box.rows[0].name: box.kind for box in found.boxes}
    assert kinds["input"] is Kind.DATA
    assert kinds["upscore8"] is Kind.UPSAMPLING
    assert kinds["score_pool4c"] is Kind.CROP
    assert kinds["fuse_pool3"] is Kind.FUSION
    assert kinds["pool3"] is Kind.POOLING
    source = dot(found)
    for kind in set(kinds.values()):
        assert source.count(COLOURS[kind].fill) >= list(kinds.values()).count(kind)


# Colours --------------------------------------------------------------------------------------

# How colours look without one kind of cone, in linear RGB (Machado, Oliveira and Fernandes 2009,
# severity 1): protan, deutan, tritan.
BLIND = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour, eye):
    """CIELAB of a colour as an eye sees it."""
    rgb = np.clip(np.asarray(BLIND[eye]) @ linear(colour), 0, 1)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.asarray(matrix) @ rgb / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", BLIND)
@pytest.mark.parametrize("paper", ["light", "dark"])
def test_kinds_can_be_told_apart_by_every_eye(eye, paper):
    """The insides or the edges of any two kinds differ by more than eyes need side by side."""
    dark = "dark_" if paper == "dark" else ""
    for one, other in combinations(COLOURS, 2):
        distance = max(
            np.linalg.norm(
                lab(getattr(COLOURS[one], f"{dark}{part}"), eye)
                - lab(getattr(COLOURS[other], f"{dark}{part}"), eye)
            )
            for part in ("fill", "stroke")
        )
        assert distance > 10, (one, other, distance)


def luminance(colour):
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_text_can_be_read_on_every_kind():
    """Names have WCAG's contrast for small text, 4.5, and more; what stands below, that of 4."""
    for colours in COLOURS.values():
        assert contrast(draw.INK.fill, colours.fill) >= 7
        assert contrast(draw.INK.dark_fill, colours.dark_fill) >= 5.5
        assert contrast(draw.PALE_INK.fill, colours.fill) >= 4
        assert contrast(draw.PALE_INK.dark_fill, colours.dark_fill) >= 3.4


# Files ----------------------------------------------------------------------------------------


def test_dot_needs_no_graphviz(fcnproto, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert fcnproto("draw", "fcn32s", "-o", "net.dot").exit_code == 0
    assert Path("net.dot").read_text().startswith("digraph net {")
    assert fcnproto("draw", "fcn32s", "-o", "-").stdout == Path("net.dot").read_text()
    for name in ("net.svg", "net.png", "net.pdf", "net.html"):
        result = fcnproto("draw", "fcn32s", "-o", name)
        assert result.exit_code == 1
        assert "apt install graphviz" in result.stderr
        assert not Path(name).exists()


def test_wrong_endings_and_files_that_exist(fcnproto):
    assert fcnproto("draw", "fcn32s", "-o", "net.gif").exit_code == 2
    assert fcnproto("draw", "fcn32s").exit_code == 2
    Path("net.dot").write_text("mine")
    assert fcnproto("draw", "fcn32s", "-o", "net.dot").exit_code == 1
    assert Path("net.dot").read_text() == "mine"
    with pytest.raises(FcnprotoError, match=r"'\.gif' is no kind of picture"):
        draw.draw(net(render("fcn32s")), ".gif")


@needs_dot
def test_svg_png_and_pdf(fcnproto):
    for name in ("net.svg", "net.png", "net.pdf"):
        assert fcnproto("draw", "voc-fcn8s", "-o", name).exit_code == 0
    root = ElementTree.parse("net.svg").getroot()
    nodes = [g for g in root.iter(f"{SVG}g") if g.get("class") == "node"]
    titles = [node.find(f"{SVG}title").text for node in nodes]
    assert "score_pool4c" in titles
    style = root.find(f"{SVG}style").text
    assert "prefers-color-scheme: dark" in style
    themed = {name for e in root.iter() for name in e.get("class", "").split() if "-" in name}
    assert {"fill-upsampling", "stroke-crop", "fill-paper", "fill-ink"} <= themed
    assert all(f".{name}{{" in style for name in themed)
    with Image.open("net.png") as image:
        assert image.height > 2 * image.width  # one column down
        assert len(image.convert("RGB").getcolors(2**24)) > 50
    assert Path("net.pdf").read_bytes().startswith(b"%PDF")


@needs_dot
def test_names_are_only_ever_text(fcnproto):
    """Whatever a layer is called, nothing of it becomes markup, a script or a DOT statement."""
    name = '</script><img src=x onerror=alert(1)> & "]; n9 [label=oops'
    text = json.dumps(name)[1:-1]
    Path("net.prototxt").write_text(
        f'name: "{text}" layer {{ name: "{text}" type: "Input" top: "{text}"'
        " input_param { shape { dim: 1 } } }"
        f' layer {{ name: "" type: "ReLU" bottom: "{text}" top: "b\\n\\t" }}'
    )
    for file in ("net.dot", "net.svg", "net.html"):
        result = fcnproto("draw", "net.prototxt", "-o", file)
        assert result.exit_code == 0, result.output
    root = ElementTree.parse("net.svg").getroot()
    assert len([g for g in root.iter(f"{SVG}g") if g.get("class") == "node"]) == 2
    assert name in [title.text for title in root.iter(f"{SVG}title")]
    page = Path("net.html").read_text()
    assert "<img" not in page
    assert page.count("</script>") == 2


@needs_dot
def test_the_page_needs_nothing_from_elsewhere(fcnproto):
    fcnproto("draw", "googlenet", "-o", "net.html")
    page = Path("net.html").read_text()
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=", page)
    assert "@import" not in page
    assert "fetch(" not in page


def test_graphviz_failures_are_one_line():
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's dot is missing")
    with pytest.raises(FcnprotoError, match="Graphviz failed"):
        draw.graphviz("this is no graph", "svg")


# The page in a browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that can be driven; the tests skip where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium or its driver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,800"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    started = webdriver.Chrome(options=options, service=service)
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's dot is missing")
    path = tmp_path_factory.mktemp("page") / "net.html"
    path.write_bytes(draw.draw(net(render("voc-fcn8s")), ".html"))
    return path.as_uri()


def in_theme(browser, theme, page):
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page)
    with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as shot:
        return np.asarray(shot.convert("RGB"))


def find(browser, selector):
    return browser.find_element("css selector", selector)


@pytest.mark.slow
def test_the_page_loads_without_a_word_in_light_and_dark(browser, page):
    light, dark = (in_theme(browser, theme, page) for theme in ("light", "dark"))
    assert browser.get_log("browser") == []
    assert find(browser, "h1").text == "voc-fcn8s"
    assert "134,489,759" in find(browser, "#totals").text
    for shot in (light, dark):
        assert len(np.unique(shot.reshape(-1, 3), axis=0)) > 100  # not blank
    assert np.median(light) > 200
    assert np.median(dark) < 60


def test_a_click_shows_a_layers_figures(browser, page):
    browser.get(page)
    assert not find(browser, "#panel").is_displayed()
    layer = next(n for n in browser.find_elements("css selector", "g.node") if "conv1_1" in n.text)
    layer.find_element("css selector", "text").click()
    assert find(browser, "#panel").is_displayed()
    facts = find(browser, "#facts").text
    for words in (
        "conv1_1 Convolution",
        "relu1_1 ReLU",
        "1×64×698×698",
        "(H + 198)×(W + 198)",
        "1,792",
        "841,888,512",
        "3 pixels of data",
        "pad: 100",
    ):
        assert words in facts
    find(browser, "#close").click()
    assert not find(browser, "#panel").is_displayed()


def test_search_fades_the_rest_and_goes_to_what_it_finds(browser, page):
    browser.get(page)
    search = find(browser, "#search")
    before = find(browser, "#stage svg").get_dom_attribute("viewBox")
    search.send_keys("Deconv")
    assert find(browser, "#found").text == "3 found"
    assert find(browser, "#stage svg").get_dom_attribute("viewBox") != before
    search.send_keys("\n")
    assert find(browser, "#facts h2").text.startswith("upscore2")
    search.send_keys("\n")
    assert find(browser, "#facts h2").text.startswith("upscore_pool4")


def test_dragging_moves_and_the_wheel_zooms(browser, page):
    actions = pytest.importorskip("selenium.webdriver").ActionChains

    def view():
        text = find(browser, "#stage svg").get_dom_attribute("viewBox")
        return [float(word) for word in text.split()]

    browser.get(page)
    stage = find(browser, "#stage")
    x, y, width, _ = view()
    actions(browser).drag_and_drop_by_offset(stage, 60, -90).perform()
    moved = view()
    assert moved[0] < x - 20
    assert moved[1] > y + 30
    assert moved[2] == pytest.approx(width)
    assert not find(browser, "#panel").is_displayed()  # a drag is no click
    origin = pytest.importorskip("selenium.webdriver.common.actions.wheel_input").ScrollOrigin
    actions(browser).scroll_from_origin(origin.from_element(stage), 0, -300).perform()
    assert view()[2] < moved[2]
    find(browser, "#whole").click()
    assert view()[3] > 3 * view()[2] or view()[3] > 2000


def test_layers_can_be_reached_with_the_keyboard(browser, page):
    keys = pytest.importorskip("selenium.webdriver").Keys
    browser.get(page)
    node = browser.find_elements("css selector", "g.node")[0]
    assert node.get_attribute("tabindex") == "0"
    browser.execute_script("arguments[0].focus()", node)
    browser.switch_to.active_element.send_keys(keys.ENTER)
    assert find(browser, "#facts h2").text.startswith("input")
    browser.switch_to.active_element.send_keys(keys.ESCAPE)
    assert not find(browser, "#panel").is_displayed()


@needs_dot
def test_control_characters_of_names_are_shown_and_not_sent(tmp_path):
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "c\\033[2J\\007" type: "Input" top: "d\\033]0;x" '
        "input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }\n"
        'layer { name: "\\033c" type: "ReLU" bottom: "d\\033]0;x" top: "e" }\n'
    )
    for ending in ("svg", "html", "dot"):
        target = tmp_path / f"net.{ending}"
        result = CliRunner().invoke(
            main, ["draw", str(tmp_path / "net.prototxt"), "-o", str(target)]
        )
        assert result.exit_code == 0, result.output
        assert not {"\x1b", "\x07"}.intersection(target.read_text())
