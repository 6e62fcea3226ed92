"""The table of a network: what each layer takes, stores and costs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from spikeloom.inspection import layer_rows, network_table
from spikeloom.network import Network
from spikeloom_sim.random_network import random_conv_network, reference_trace


def shown(network: Network, title: str = "net") -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(network_table(network, title))
    return out.getvalue()


def network() -> Network:
    return random_conv_network(
        7, blocks=["conv", "project", "maxfire", "depthwise", "add", "dense"], shape=(2, 8, 7)
    )


def test_rows_are_the_layers():
    net = network()
    rows = layer_rows(net)
    assert [row.name for row in rows] == [op.name for op in net.layers]
    for row, op in zip(rows, net.layers, strict=True):
        assert row.shape_out == net.edges[op.name].shape
        assert row.takes == net.layer_sources(op)
    steps = reference_trace(net, np.zeros((1, net.inputs), np.uint8))
    for row, step in zip(rows, steps, strict=True):
        assert (row.bits_out is None) == (step.words is None)
        if row.accumulator_bits is None:
            assert row.parameters == 0


def test_a_convolution_is_counted():
    net = random_conv_network(2, blocks=["conv", "same"], shape=(3, 6, 6))
    first, second = net.layers[:2]
    rows = layer_rows(net)
    pixels = net.edges[first.name].pixels
    o, i, ky, kx = first.weight.shape  # type: ignore[union-attr]
    assert rows[0].multiply_adds == pixels * o * i * ky * kx
    assert rows[0].parameters == o * i * ky * kx + 2 * o
    added = second.skip_weight is not None  # type: ignore[union-attr]
    o, i, ky, kx = second.weight.shape  # type: ignore[union-attr]
    assert rows[1].multiply_adds == pixels * o * (i * ky * kx + added)
    assert rows[1].parameters == o * i * ky * kx + (2 + added) * o


def test_the_table_shows_them():
    text = shown(network())
    for word in ("conv 3x3", "fire", "add", "dense", "readout", "2x8x7 > ", "mult-adds", " + "):
        assert word in text
    assert "from" not in shown(random_conv_network(0, blocks=["conv", "maxpool"]))
    assert "pruned" not in text


@pytest.mark.parametrize(
    ("lowering", "sign"),
    [
        ('[{"name": "conv0", "pruned": 7, "clipped": 12}]', "pruned"),
        ("{", ""),
        ("3", ""),
        ("[1]", ""),
        ('[{"pruned": 1}]', ""),
        ('[{"name": []}]', ""),
        ("[" * 100_000, ""),
    ],
)
def test_what_the_lowering_left_is_shown_or_ignored(lowering, sign):
    base = random_conv_network(0, blocks=["conv"])
    net = Network(base.ops, base.input_shape, base.input_bits, {"lowering": lowering})
    text = shown(net)
    assert ("pruned" in text) == bool(sign)
    assert not sign or " 7 " in text
