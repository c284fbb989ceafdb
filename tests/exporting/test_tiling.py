"""Tiles give what the whole image gives, bit for bit, shown on nets that reckon in integers."""

from dataclasses import replace

import numpy as np
import pytest
from exporting import exported, input_text, net_of, run, session_of

from fcnproto.errors import NetError
from fcnproto.exporting import tiling as tilings
from fcnproto.exporting.inference import inference
from fcnproto.exporting.tiling import stages, tiling
from fcnproto.model.tiles import (
    Kept,
    Span,
    Stages,
    Tiling,
    first_stage,
    of_map,
    second_stage,
    spans,
)
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.runtime.session import Session
from fcnproto.runtime.staged import Staged


def layer(kind, bottom, top, settings="", second=""):
    bottoms = f'bottom: "{bottom}"' + (f' bottom: "{second}"' if second else "")
    return f'layer {{ name: "{top}" type: "{kind}" {bottoms} top: "{top}" {settings} }}\n'


def conv(bottom, top, settings, outputs=2):
    return layer(
        "Convolution", bottom, top, f"convolution_param {{ num_output: {outputs} {settings} }}"
    )


def deconv(bottom, top, settings):
    settings = f"convolution_param {{ num_output: 2 bias_term: false {settings} }}"
    return layer("Deconvolution", bottom, top, settings)


def pool(bottom, top, settings):
    return layer("Pooling", bottom, top, f"pooling_param {{ {settings} }}")


def crop(bottom, top, like, offset):
    return layer("Crop", bottom, top, f"crop_param {{ axis: 2 offset: {offset} }}", like)


def add(first, second, top):
    return layer("Eltwise", first, top, "", second)


NETS = {
    "one pixel": conv("data", "score", "kernel_size: 1"),
    "a convolution": conv("data", "score", "kernel_size: 5 pad: 2"),
    "dilated": conv("data", "score", "kernel_size: 3 pad: 4 dilation: 4"),
    "rows and columns": conv(
        "data", "score", "kernel_h: 1 kernel_w: 7 pad_h: 0 pad_w: 3 stride_h: 1 stride_w: 1"
    ),
    "pooled at stride 1": pool("data", "score", "pool: MAX kernel_size: 3 stride: 1 pad: 1"),
    "one step": conv("data", "c", "kernel_size: 3 pad: 20")
    + pool("c", "p", "pool: MAX kernel_size: 2 stride: 2")
    + deconv("p", "u", "kernel_size: 4 stride: 2")
    + crop("u", "score", "data", 21),
    "overlapping windows": conv("data", "c", "kernel_size: 3 pad: 20 stride: 2")
    + pool("c", "p", "pool: MAX kernel_size: 3 stride: 2")
    + deconv("p", "u", "kernel_size: 7 stride: 4")
    + crop("u", "score", "data", 22),
    "two strides": conv("data", "c", "kernel_size: 3 pad: 20")
    + pool("c", "p2", "pool: MAX kernel_size: 2 stride: 2")
    + deconv("p2", "u2", "kernel_size: 4 stride: 2")
    + crop("u2", "c2", "data", 21)
    + pool("c", "p3", "pool: MAX kernel_size: 3 stride: 3")
    + deconv("p3", "u3", "kernel_size: 5 stride: 3")
    + crop("u3", "c3", "data", 20)
    + add("c2", "c3", "score"),
    "a skip": conv("data", "c", "kernel_size: 3 pad: 30")
    + pool("c", "p1", "pool: MAX kernel_size: 2 stride: 2")
    + conv("p1", "c2", "kernel_size: 3 pad: 1")
    + pool("c2", "p2", "pool: MAX kernel_size: 2 stride: 2")
    + deconv("p2", "u1", "kernel_size: 4 stride: 2")
    + crop("u1", "u1c", "p1", 1)
    + add("u1c", "p1", "sum")
    + deconv("sum", "u2", "kernel_size: 4 stride: 2")
    + crop("u2", "score", "data", 31),
}


def whole_weights(net, rng):
    return {
        net.graph.nodes[index].layer.name: [
            rng.integers(-1, 2, weight.shape).astype(np.float32) for weight in wanted
        ]
        for index, wanted in net.shapes.weights.items()
        if wanted
    }


def tiled(session, net, image, tile):
    """The output put together from tiles."""
    cut = tiling(net.graph, net.shapes)
    height, width = image.shape[2:]
    down, across = (
        list(spans(size, tile, cut.stride[axis], cut.before[axis], cut.after[axis]))
        for axis, size in enumerate((height, width))
    )
    rows = []
    for row in down:
        parts = []
        for column in across:
            piece = image[:, :, row.first : row.last, column.first : column.last]
            (found,) = run(session, {"data": piece}).values()
            top, left = row.start - row.first, column.start - column.first
            parts.append(found[:, :, top : row.end - row.first, left : column.end - column.first])
        rows.append(np.concatenate(parts, axis=3))
    return np.concatenate(rows, axis=2)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (64, 40)])
def test_tiles_give_what_the_whole_image_gives(name, size):
    rng = np.random.default_rng(0)
    net = net_of(input_text(data=(1, 2, 64, 64)) + NETS[name])
    session = session_of(exported(net, whole_weights(net, rng)))
    image = rng.integers(-3, 4, (2, 2, *size)).astype(np.float32)
    (whole,) = run(session, {"data": image}).values()
    assert whole.shape[2:] == size
    assert np.abs(whole).max() < 2**20  # so that sums are exact in any order
    for tile in (4, 16, 21):
        np.testing.assert_array_equal(tiled(session, net, image, tile), whole)


@pytest.mark.parametrize("name", [name for name in NETS if name != "one pixel"])
def test_a_smaller_halo_would_not_do(name):
    """The receptive field is no larger than it must be: its last pixel matters."""
    net = net_of(input_text(data=(1, 2, 64, 64)) + NETS[name])
    ones = {
        net.graph.nodes[index].layer.name: [np.ones(weight.shape, np.float32) for weight in wanted]
        for index, wanted in net.shapes.weights.items()
        if wanted
    }
    session = session_of(exported(net, ones))
    cut = tiling(net.graph, net.shapes)
    size = 4 * max(cut.before[1], cut.after[1], 8)
    rng = np.random.default_rng(0)
    seen_before, seen_after = 0, 0
    image = rng.integers(1, 1000, (1, 2, 9 + max(cut.stride), size)).astype(np.float32)
    (base,) = run(session, {"data": image}).values()
    for pixel in range(size // 2, size // 2 + cut.stride[1]):
        changed = image.copy()
        changed[..., pixel] += 5000
        (found,) = run(session, {"data": changed}).values()
        columns = np.flatnonzero((found != base).any(axis=(0, 1, 2)))
        seen_before = max(seen_before, columns.max() - pixel)
        seen_after = max(seen_after, pixel - columns.min())
    assert (seen_before, seen_after) == (cut.before[1], cut.after[1])


def test_fcn_8s_of_caffe(golden):
    from fcnproto.proto.source import read_net

    net = inference(build(read_net(golden / "layers" / "net_fcn8s_97x75.prototxt")))
    cut = tiling(net.graph, net.shapes)
    assert cut.stride == (32, 32)
    assert cut.before == cut.after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pool("data", "p", "pool: AVE global_pooling: true"), "p"),
        (layer("MVN", "data", "m"), "layer 'm'"),
        (layer("InnerProduct", "data", "ip", "inner_product_param { num_output: 2 }"), "ip"),
        (pool("data", "p", "pool: MAX kernel_size: 2 stride: 2"), "one pixel of the output is 2"),
    ],
)
def test_what_cannot_be_tiled(text, message):
    net = net_of(input_text(data=(1, 2, 8, 8)) + text)
    with pytest.raises(NetError, match=message):
        tiling(net.graph, net.shapes)


def test_spans_cover_an_axis_once():
    for size in (1, 31, 32, 33, 100, 257):
        for tile in (1, 32, 40, 1000):
            found = list(spans(size, tile, 32, 45, 50))
            covered = [pixel for span in found for pixel in range(span.start, span.end)]
            assert covered == list(range(size))
            for span in found:
                assert span.first % 32 == 0
                assert span.first <= max(0, span.start - 45)
                assert span.last >= min(size, span.end + 50)
    assert list(spans(10, 8, 4, 2, 1)) == [Span(0, 8, 0, 9), Span(8, 10, 4, 10)]


def test_tiling_is_a_value():
    assert Tiling((1, 2), (3, 4), (5, 6)) == Tiling((1, 2), (3, 4), (5, 6))


# Two stages -------------------------------------------------------------------------------------


def run_one(session, feeds, names):
    return session.run(feeds, names)


def staged_scores(model, cut, way, feeds, tile):
    """The scores of every output, put together from tiles of two stages."""
    session = Session(model.SerializeToString(), "cpu", threads=1)
    names = [output.name for output in session.outputs]
    staged = Staged.of(session, replace(cut, stages=way), way, run_one)
    height, width = next(iter(feeds.values())).shape[2:]

    def pixels(rows, columns):
        return {
            blob: np.ascontiguousarray(
                array[:, :, rows.first : rows.last, columns.first : columns.last]
            )
            for blob, array in feeds.items()
        }

    whole, covered = {}, np.zeros((height, width), int)
    for rows, columns, outputs in staged.tiles(pixels, height, width, tile, names):
        covered[rows.start : rows.end, columns.start : columns.end] += 1
        top, left = rows.start - rows.first, columns.start - columns.first
        for name, part in outputs.items():
            inside = part[:, :, top : rows.end - rows.first, left : columns.end - columns.first]
            score = whole.setdefault(name, np.full((*part.shape[:2], height, width), np.nan))
            score[:, :, rows.start : rows.end, columns.start : columns.end] = inside
    assert (covered == 1).all()
    return whole


def whole_scores(model, feeds):
    return Session(model.SerializeToString(), "cpu", threads=1).run(feeds)


def small(name, channels=3):
    """A net of the zoo whose layers have few channels, with weights that keep sums near 1.

    With 0 channels they have as many as they have.
    """
    source = parse_net(render(name))
    for each in source.net.layer:
        param = each.convolution_param
        if channels and each.type == "Convolution" and "score" not in each.name:
            param.num_output = channels - channels % param.group or param.group
    net = inference(build(source))
    rng = np.random.default_rng(0)
    weights = {
        net.graph.nodes[index].layer.name: [
            (rng.standard_normal(weight.shape) * np.prod(weight.shape[1:]) ** -0.5).astype(
                np.float32
            )
            for weight in wanted
        ]
        for index, wanted in net.shapes.weights.items()
        if wanted
    }
    return net, weights


def image_of(net, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return {
        blob: rng.uniform(-128, 128, (1, sizes[1], height, width)).astype(np.float32)
        for blob, sizes in net.inputs.items()
    }


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, score in expected.items():
        np.testing.assert_allclose(found[name], score, rtol=0, atol=5e-6 * np.abs(score).max())


ZOO = {
    "voc-fcn8s": [(1, 1), (131, 300), (420, 97)],
    "voc-fcn16s": [(200, 333)],
    "voc-fcn32s": [(200, 333)],
    "voc-fcn-alexnet": [(1, 3), (131, 300), (420, 97)],
    "nyud-fcn32s-color-hha": [(160, 270)],
    "siftflow-fcn8s": [(256, 256)],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [(n, size) for n, sizes in ZOO.items() for size in sizes]
)
def test_two_stages_give_what_the_whole_image_gives(name, size):
    net, weights = small(name, 4)
    model = exported(net, weights)
    cut = tiling(net.graph, net.shapes)
    feeds = image_of(net, *size)
    expected = whole_scores(model, feeds)
    ways = stages(net.graph, net.shapes, cut)
    assert ways
    for way, tile in zip((ways[0], ways[0], ways[-1]), (32, 70, 64), strict=True):
        assert_close(staged_scores(model, cut, way, feeds, tile), expected)


def test_stages_of_fcn_8s():
    """By hand: pool4's pixel 6 is that of the image's corner; 64 channels of 16 × 16 are 1 byte."""
    net = inference(build(parse_net(render("voc-fcn8s"))))
    way = stages(net.graph, net.shapes, tiling(net.graph, net.shapes))[0]
    assert [kept.blob for kept in way.kept] == ["pool4", "score_pool3", "score_pool4"]
    pool4 = way.kept[0]
    # A pixel of pool4 covers 16 of conv1_1, and 9 convolutions of 3 taps see 44 more around them:
    # 2 · 1 + 2 · 2 + 3 · 4 + 3 · 8 on each side, and pools 1 + 2 + 4 + 8 after it.
    assert (pool4.stride, pool4.before, pool4.more) == ((16, 16), (100 + 41,) * 2, (13, 13))


@pytest.mark.parametrize("name", ["overlapping windows", "two strides", "a skip", "one step"])
def test_every_way_in_two_stages_is_exact(name, monkeypatch):
    """On nets that reckon in integers, bit for bit."""
    monkeypatch.setattr(tilings, "TILE", 16)  # for which these small nets gain from two stages
    rng = np.random.default_rng(0)
    net = net_of(input_text(data=(1, 2, 64, 64)) + NETS[name])
    model = exported(net, whole_weights(net, rng))
    cut = tiling(net.graph, net.shapes)
    ways = stages(net.graph, net.shapes, cut)
    assert ways
    for size in ((1, 1), (3, 70), (37, 53), (64, 40)):
        feeds = {"data": rng.integers(-3, 4, (2, 2, *size)).astype(np.float32)}
        expected = whole_scores(model, feeds)
        for way in ways:
            for tile in (1, 8, 21):
                found = staged_scores(model, cut, way, feeds, tile)
                assert found.keys() == expected.keys()
                for blob, score in expected.items():
                    np.testing.assert_array_equal(found[blob], score)


@pytest.mark.parametrize(
    ("stage", "side", "less"),
    [
        ("second", "before", 64),
        ("second", "after", 32),
        ("kept", "before", 64),
        ("kept", "after", 64),
    ],
)
def test_less_around_a_stage_would_not_do(stage, side, less):
    net, weights = small("voc-fcn8s")
    model = exported(net, weights)
    cut = tiling(net.graph, net.shapes)
    way = stages(net.graph, net.shapes, cut)[0]

    def lessened(value):
        rows, columns = getattr(value, side)
        return replace(value, **{side: (rows, columns - less)})

    kept = tuple(map(lessened, way.kept))
    way = lessened(way) if stage == "second" else replace(way, kept=kept)
    feeds = image_of(net, 33, 450)
    with pytest.raises((AssertionError, ValueError)):  # ValueError where a tile is too small
        assert_close(staged_scores(model, cut, way, feeds, 96), whole_scores(model, feeds))


def test_tiles_of_two_stages_cover_an_axis_once():
    kept = Kept("map", (16, 16), (141, 141), (-42, -42), (13, 13))
    cut = Tiling((32, 32), (245, 245), (245, 245), Stages((kept,), (104, 104), (94, 94)))
    for size in (1, 31, 64, 500, 1999):
        pixels = -(-(size + 198) // 16)  # of pool4, by Caffe's rules
        for tile in (1, 100, 512):
            first = list(first_stage(size, tile, cut, 0))
            assert [span.start for span in first] == [0, *(span.end for span in first[:-1])]
            assert first[-1].last == size
            for span in first:
                assert span.first % 32 == 0 <= span.first < span.last <= size
                assert span.first == 0 or span.first <= span.start - 141
            for span in second_stage(size, tile, cut, 0):
                start, end = of_map(kept, 0, span, size)
                assert span.first == 0 or span.first <= span.start - 104
                assert 0 <= start < pixels
                assert (end is None) == (span.last == size)
                assert end is None or end <= pixels


def test_nets_that_gain_nothing_run_in_one_stage():
    net = net_of(input_text(data=(1, 2, 64, 64)) + NETS["a convolution"])
    assert stages(net.graph, net.shapes, tiling(net.graph, net.shapes)) == []


@pytest.mark.slow
def test_two_stages_of_fcn_8s_as_large_as_it_is():
    net, weights = small("voc-fcn8s", 0)
    model = exported(net, weights)
    cut = tiling(net.graph, net.shapes)
    feeds = image_of(net, 500, 700)
    way = stages(net.graph, net.shapes, cut)[0]
    assert_close(staged_scores(model, cut, way, feeds, 256), whole_scores(model, feeds))
