"""diff.py: what means the same and what does not."""

import pytest

from fcnproto.net.diff import net_differences, solver_differences
from fcnproto.proto.source import parse_net, parse_solver

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" %s
  convolution_param { num_output: 4 %s } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { %s } }
"""  # noqa: E501


def net(rates="", convolution="kernel_size: 3", pooling="kernel_size: 2 stride: 2"):
    return parse_net(NET % (rates, convolution, pooling)).net


@pytest.mark.parametrize(
    "other",
    [
        {"convolution": "kernel_size: 3 kernel_size: 3 stride: 1 pad: 0 dilation: 1 group: 1"},
        {"convolution": "kernel_h: 3 kernel_w: 3 stride_h: 1 stride_w: 1 bias_term: true"},
        {"convolution": 'kernel_size: 3 weight_filler { type: "constant" value: 0 }'},
        {"rates": "param { lr_mult: 1 decay_mult: 1 } param { }"},
        {"pooling": "pool: MAX kernel_h: 2 kernel_w: 2 stride_h: 2 stride_w: 2 pad: 0"},
    ],
)
def test_spelling_makes_no_difference(other):
    assert net_differences(net(), net(**other)) == []
    assert net_differences(net(**other), net()) == []


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"convolution": "kernel_size: 5"}, "layer 'conv': convolution_param.kernel_size: 3 → 5"),
        (
            {"convolution": "kernel_h: 3 kernel_w: 5"},
            "layer 'conv': convolution_param.kernel_size: 3 → 3, 5",
        ),
        (
            {"convolution": "kernel_size: 3 bias_term: false"},
            "layer 'conv': convolution_param.bias_term: True → False",
        ),
        ({"rates": "param { lr_mult: 0 }"}, "layer 'conv': param[0].lr_mult: 1 → 0"),
        (
            {"pooling": "pool: AVE kernel_size: 2 stride: 2"},
            "layer 'pool': pooling_param.pool: MAX → AVE",
        ),
        (
            {"convolution": 'kernel_size: 3 weight_filler { type: "xavier" }'},
            "layer 'conv': convolution_param.weight_filler.type: constant → xavier",
        ),
    ],
)
def test_meaning_makes_a_difference(other, expected):
    assert net_differences(net(), net(**other)) == [expected]


def test_layers_that_only_one_net_has_are_named():
    longer = parse_net(NET % ("", "kernel_size: 3", "kernel_size: 2 stride: 2"))
    longer.net.layer.add(name="prob", type="Softmax", bottom=["pool"], top=["prob"])
    assert net_differences(net(), longer.net) == ["layer 'prob': only in the second"]
    assert net_differences(longer.net, net()) == ["layer 'prob': only in the first"]


def test_order_matters_where_it_changes_what_a_layer_reads():
    first = net()
    second = net()
    relu = second.layer.pop(2)
    second.layer.insert(0, relu)
    lines = net_differences(first, second)
    assert "layer 'relu': its bottoms are written by conv → nobody" in lines
    assert "layer 'pool': its bottoms are written by relu → conv" in lines


def test_old_forms_mean_what_their_upgrades_mean():
    old = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8'
    new = 'layer { name: "input" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'  # noqa: E501
    assert net_differences(parse_net(old).net, parse_net(new).net) == []


def test_solvers():
    first = parse_solver('net: "a" base_lr: 0.1 lr_policy: "fixed"').solver
    same = parse_solver('net: "a" base_lr: 1e-1 lr_policy: "fixed" iter_size: 1 type: "SGD"').solver
    other = parse_solver('net: "a" base_lr: 0.2 lr_policy: "fixed"').solver
    assert solver_differences(first, same) == []
    assert solver_differences(first, other) == ["base_lr: 0.100000001 → 0.200000003"]
