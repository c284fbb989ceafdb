"""Which losses have scores that can be measured while a net is trained."""

from types import SimpleNamespace

import pytest
from exporting import input_text

from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.training import loop

LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "%s" top: "loss" }'
MADE = 'layer { name: "made" type: "Power" bottom: "label" top: "made" }'


@pytest.mark.parametrize(("label", "measured"), [("label", True), ("made", False)])
def test_only_labels_that_are_fed_are_measured_against(label, measured):
    text = input_text(score=(1, 3, 8, 8), label=(1, 1, 8, 8)) + MADE + LOSS % label
    graph = build(parse_net(text))
    net = SimpleNamespace(graph=graph, shape=infer(graph).blobs.get)
    (loss,) = (node for node in graph.nodes if node.layer.name == "loss")
    assert loop._measures(net, loss) is measured
