"""Prototxts of 100 kB that have very much of one thing, each in a way that has cost time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

LENGTH = 100_000
_INPUT = 'layer{name:"data"type:"Input"top:"data"input_param{shape{dim:1 dim:3 dim:32 dim:32}}}\n'


def _many(line: Callable[[int], str], head: str = _INPUT, most: int = LENGTH) -> str:
    """As many lines as there is room for."""
    parts, size, number = [head], len(head), 0
    while size < most:
        parts.append(line(number) + "\n")
        size += len(parts[-1])
        number += 1
    return "".join(parts)


def _chain(kind: str, settings: str = "") -> str:
    def line(n: int) -> str:
        bottom = f"b{n - 1}" if n else "data"
        return f'layer{{name:"b{n}"type:"{kind}"bottom:"{bottom}"top:"b{n}"{settings}}}'

    return _many(line)


_CONV = 'convolution_param{num_output:3 kernel_size:3 pad:1 weight_filler{type:"xavier"}}'


def _one(kind: str, bottoms: int = 1, tops: int = 1, settings: str = "") -> str:
    below = "".join('bottom:"data"' for _ in range(bottoms))
    above = "".join(f'top:"t{n}"' for n in range(tops))
    return f'{_INPUT}layer{{name:"one"type:"{kind}"{below}{above}{settings}}}\n'


def _diamonds() -> str:
    def line(n: int) -> str:
        bottom = f"e{n - 1}" if n else "data"
        return (
            f'layer{{name:"p{n}"type:"Pooling"bottom:"{bottom}"top:"p{n}"pooling_param{{kernel_size:1}}}}'
            f'layer{{name:"q{n}"type:"Pooling"bottom:"{bottom}"top:"q{n}"pooling_param{{kernel_size:1}}}}'
            f'layer{{name:"e{n}"type:"Eltwise"bottom:"p{n}"bottom:"q{n}"top:"e{n}"}}'
        )

    return _many(line)


def _crops() -> str:
    def line(n: int) -> str:
        bottom = f"b{n - 1}" if n else "data"
        return (
            f'layer{{name:"c{n}"type:"Convolution"bottom:"{bottom}"top:"c{n}"{_CONV}}}'
            f'layer{{name:"b{n}"type:"Crop"bottom:"c{n}"bottom:"data"top:"b{n}"}}'
        )

    return _many(line)


def _dense() -> str:
    """Each layer reads all before it."""

    def line(n: int) -> str:
        bottoms = "".join(f'bottom:"c{each}"' for each in range(n)) or 'bottom:"data"'
        return (
            f'layer{{name:"k{n}"type:"Concat"{bottoms}top:"k{n}"}}'
            f'layer{{name:"c{n}"type:"Convolution"bottom:"k{n}"top:"c{n}"{_CONV}}}'
        )

    return _many(line)


def _shared() -> str:
    """Blobs that lie in one memory, which many layers overwrite."""

    def line(n: int) -> str:
        if n < 1000:
            return f'layer{{type:"Flatten"bottom:"data"top:"f{n}"}}'
        return 'layer{type:"ReLU"bottom:"data"top:"data"}'

    return _many(line)


def _overwritten() -> str:
    """A blob that is read between the layers that overwrite it."""

    def line(n: int) -> str:
        kind, top = ("ReLU", "data") if n % 2 else ("Power", f"t{n}")
        return f'layer{{name:"l{n}"type:"{kind}"bottom:"data"top:"{top}"}}'

    return _many(line)


def _input(tops: int, dims: str) -> str:
    above = "".join(f'top:"t{n}"' for n in range(tops))
    return f'layer{{name:"i"type:"Input"{above}input_param{{shape{{{dims}}}}}}}'


def _v1() -> str:
    head = 'input:"data"input_dim:1 input_dim:3 input_dim:32 input_dim:32\n'
    return _many(lambda n: f'layers{{name:"r{n}"type:RELU bottom:"data"top:"r{n}"}}', head)


def _v0() -> str:
    head = 'input:"data"input_dim:1 input_dim:3 input_dim:32 input_dim:32\n'

    def line(n: int) -> str:
        bottom = f"p{n - 1}" if n else "data"
        return (
            f'layers{{layer{{name:"p{n}"type:"padding"pad:1}}bottom:"{bottom}"top:"p{n}"}}'
            f'layers{{layer{{name:"r{n}"type:"relu"}}bottom:"p{n}"top:"p{n}"}}'
        )

    return _many(line, head)


def texts() -> Iterator[tuple[str, str]]:
    """Each with what it has much of."""
    yield (
        "missing bottoms",
        _many(lambda n: f'layer{{name:"l{n}"type:"ReLU"bottom:"x{n}"top:"y{n}"}}'),
    )
    yield (
        "unknown types",
        _many(lambda n: f'layer{{name:"l{n}"type:"Unknown{n}"bottom:"data"top:"y{n}"}}'),
    )
    yield "empty layers", _many(lambda n: "layer{}", "")
    yield "unknown fields", _many(lambda n: f"nam{n}:{n}", "")
    yield "unknown fields of layers", _many(lambda n: f"layer{{kernel_sizes{n}:3}}", "")
    yield (
        "unknown enums",
        _many(lambda n: f'layer{{name:"l{n}"type:"Pooling"pooling_param{{pool:MAXX{n}}}}}'),
    )
    yield "in place", _many(lambda n: f'layer{{name:"r{n}"type:"ReLU"bottom:"data"top:"data"}}')
    yield "in place, no names", _many(lambda n: 'layer{type:"ReLU"bottom:"data"top:"data"}')
    yield "overwritten and read", _overwritten()
    yield "one memory", _shared()
    yield (
        "readers of one blob",
        _many(lambda n: f'layer{{name:"r{n}"type:"ReLU"bottom:"data"top:"r{n}"}}'),
    )
    yield "tops made twice", _many(lambda n: f'layer{{name:"r{n}"type:"ReLU"bottom:"data"top:"r"}}')
    yield "tops of one layer", _one("Split", tops=9000)
    yield "tops of a slice", _one("Slice", tops=6000, settings="slice_param{axis:2}")
    yield "tops of an input", _input(9000, "dim:1 dim:3 dim:8 dim:8")
    yield "bottoms of a concat", _one("Concat", bottoms=6000)
    yield "bottoms of a sum", _one("Eltwise", bottoms=6000)
    yield (
        "bottoms without tops",
        _many(lambda n: f'layer{{name:"s{n}"type:"Silence"bottom:"data"}}'),
    )
    yield "chain of ReLU", _chain("ReLU")
    yield "chain of convolutions", _chain("Convolution", _CONV)
    yield "chain of pooling", _chain("Pooling", "pooling_param{pool:MAX kernel_size:3 pad:1}")
    yield (
        "chain of deconvolutions",
        _chain("Deconvolution", "convolution_param{num_output:3 kernel_size:3 pad:1}"),
    )
    yield (
        "chain of doublings",
        _chain("Deconvolution", "convolution_param{num_output:3 kernel_size:4 stride:2 pad:1}"),
    )
    yield "chain of flattening", _chain("Flatten")
    yield "chain of scales", _chain("Scale", "scale_param{bias_term:true}")
    yield "chain of batch norms", _chain("BatchNorm")
    yield "crops of the image", _crops()
    yield "diamonds", _diamonds()
    yield "everything reads everything", _dense()
    yield (
        "stride 65536",
        _one(
            "Convolution",
            settings="convolution_param{num_output:3 kernel_size:65536 stride:65536 pad:65535}",
        ),
    )
    yield (
        "strides 65536",
        _chain("Deconvolution", "convolution_param{num_output:3 kernel_size:65536 stride:65536}"),
    )
    yield (
        "strides of pooling",
        _chain("Pooling", "pooling_param{kernel_size:2 stride:2147483647 pad:1}"),
    )
    yield (
        "pad of the first layer",
        _one(
            "Convolution", settings="convolution_param{num_output:3 kernel_size:3 pad:2147483647}"
        ),
    )
    yield (
        "dilation",
        _one(
            "Convolution",
            settings="convolution_param{num_output:3 kernel_size:3 dilation:715827882}",
        ),
    )
    yield (
        "groups",
        _one("Convolution", settings="convolution_param{num_output:30000 kernel_size:1 group:3}"),
    )
    yield (
        "channels",
        _one("Convolution", settings="convolution_param{num_output:2147483647 kernel_size:1}"),
    )
    yield "zoom", _one("Interp", settings="interp_param{zoom_factor:2147483647}")
    yield "tiles", _chain("Tile", "tile_param{axis:1 tiles:2147483647}")
    yield "tiles of two", _chain("Tile", "tile_param{axis:1 tiles:2}")
    yield "local sizes", _one("LRN", settings="lrn_param{local_size:2147483647}")
    yield (
        "spatial local sizes",
        _one("LRN", settings="lrn_param{local_size:2001 norm_region:WITHIN_CHANNEL}"),
    )
    yield "pyramid", _one("SPP", settings="spp_param{pyramid_height:30}")
    yield (
        "sizes of an image",
        'input:"data"input_dim:1 input_dim:3 input_dim:2147483647 input_dim:2147483647\n',
    )
    yield "dims", _input(1, "dim:[" + ",".join("1" * 49000) + "]")
    yield "input fields", _many(lambda n: f'input:"i{n}"', "")
    yield "input dims", _many(lambda n: "input_dim:1", 'input:"data"')
    yield "input shapes", _many(lambda n: f'input:"i{n}"input_shape{{dim:1 dim:3}}', "")
    yield "params", _one("Convolution", settings=_CONV + "param{}" * 14000)
    yield (
        "shared params",
        _chain("InnerProduct", 'param{name:"w"}inner_product_param{num_output:3}'),
    )
    yield "loss weights", _one("ReLU", settings="loss_weight:[" + ",".join("1" * 49000) + "]")
    yield "rules", _one("ReLU", settings="include{phase:TEST}" * 5000)
    yield "stages", _one("ReLU", settings="include{" + 'stage:"a"' * 10000 + "}")
    yield (
        "coefficients",
        _one("Eltwise", 2, settings="eltwise_param{coeff:[" + ",".join("1" * 49000) + "]}"),
    )
    yield (
        "slice points",
        _one("Slice", tops=2, settings="slice_param{slice_point:[" + ",".join("1" * 49000) + "]}"),
    )
    yield "nested messages", "layer{" * 16000
    yield "nested unknown", "a{" * 50000
    yield "nested lists", "a:[" * 33000
    yield "nested and closed", "layer{x" + "{a" * 25000 + "}" * 25000 + "}"
    yield (
        "a long name",
        f'{_INPUT}layer{{name:"{"n" * 90000}"type:"ReLU"bottom:"data"top:"{"t" * 5000}"}}',
    )
    yield "a long type", f'{_INPUT}layer{{name:"a"type:"{"C" * 95000}"bottom:"data"top:"t"}}'
    yield (
        "names of one letter",
        f"{_INPUT}" + f'layer{{name:"a"type:"ReLU"bottom:"{"a" * 90}"top:"{"b" * 90}"}}\n' * 400,
    )
    yield "escapes", f'name:"{chr(92) + "n"}{(chr(92) + "377") * 24000}"'
    yield "texts in pieces", "name:" + '"a"' * 33000
    yield "comments", "#\n" * 50000
    yield "open text", 'name:"' + "a" * 99000
    yield "digits", "input_dim:" + "9" * 99000
    yield "digits of floats", "base_lr:0." + "9" * 99000
    yield "minus", "base_lr:" + "-" * 99000
    yield "semicolons", ";" * 100000
    yield "closing", "}" * 100000
    yield "layers of version 1", _v1()
    yield "layers of version 0", _v0()
    yield (
        "a solver's steps",
        _many(lambda n: f"stepvalue:{n}", 'base_lr:1\nlr_policy:"multistep"\n'),
    )
    yield (
        "a solver's tests",
        _many(lambda n: f'test_iter:1 test_net:"n{n}"', "base_lr:1\ntest_interval:1\n"),
    )
    yield (
        "a solver's nets",
        _many(lambda n: 'test_net_param{layer{type:"ReLU"bottom:"x"}}test_iter:1', "base_lr:1\n"),
    )
    yield (
        "python layers",
        _many(lambda n: f'layer{{type:"Python"top:"a{n}"python_param{{module:"m"layer:"L{n}"}}}}'),
    )
    for title, settings in (
        ("python settings", "[" * 90000),
        ("python dictionary", "{" + "1:1," * 22000 + "}"),
    ):
        param = f'module:"voc_layers"layer:"VOCSegDataLayer"param_str:"{settings}"'
        yield title, f'layer{{type:"Python"top:"a"top:"b"python_param{{{param}}}}}'
