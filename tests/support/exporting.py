"""Export a net that is given as text, and run it."""

import numpy as np
import onnx
import onnxruntime

from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import write
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net


def net_of(text):
    return inference(build(parse_net(text)))


def exported(net, weights=None, opset=21):
    """The model as one checked message."""
    model = write(with_weights(net, weights or {}), opset=opset, metadata={}).to_proto()
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(session, feeds):
    """The outputs by name."""
    names = [output.name for output in session.get_outputs()]
    feeds = {name: np.asarray(array, np.float32) for name, array in feeds.items()}
    return dict(zip(names, session.run(names, feeds), strict=True))


def operators(model):
    return [node.op_type for node in model.graph.node]


def input_text(**shapes):
    """Input layers, one for each blob."""
    return "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } }\n"
        for name, shape in shapes.items()
    )


def layer_text(kind, bottoms, tops, settings=""):
    """A layer named `it`."""
    names = [f'bottom: "{name}"' for name in bottoms] + [f'top: "{name}"' for name in tops]
    return f'layer {{ name: "it" type: "{kind}" {" ".join(names)} {settings} }}\n'
