"""What a build's report says of layers."""

import dataclasses

from spikeloom_boards.report import BuildReport, layer_line
from spikeloom_sim.random_network import BLOCKS, random_conv_network, random_foldings


def lines(parameters):
    layers = [{"kind": layer.kind, **dataclasses.asdict(layer)} for layer in parameters.layers]
    return [layer_line(k, layer) for k, layer in enumerate(layers)]


def test_every_kind_of_layer_has_a_line():
    kinds = set()
    for seed, block in enumerate(sorted(BLOCKS)):
        network = random_conv_network(seed, blocks=[block])
        parameters = network.parameters(random_foldings(network, seed))
        for k, (layer, line) in enumerate(zip(parameters.layers, lines(parameters), strict=True)):
            kinds.add(layer.kind)
            assert line.startswith(f"layer {k}: {layer.kind}, ")
            assert f" {layer.folding.lanes} lanes" in line
    assert kinds == {"add", "conv", "dense", "depthwise", "fire", "pad", "pool"}


def test_fixed_weights_are_in_the_report():
    numbers = {f.name: 1 for f in dataclasses.fields(BuildReport)}
    texts = {f.name: "x" for f in dataclasses.fields(BuildReport) if f.type == "str"}
    loaded = BuildReport(**(numbers | texts | {"tools": {}, "layers": [], "weights_crc": ""}))
    fixed = dataclasses.replace(loaded, weights_crc="0badcafe")
    assert "weights" not in loaded.to_text()
    assert "weights fixed in the bitstream, CRC 0badcafe" in fixed.to_text()
    assert BuildReport.from_json(fixed.to_json()) == fixed


def test_a_convolution_says_what_it_is():
    network = random_conv_network(3, blocks=["conv"], shape=(2, 6, 5))
    parameters = network.parameters(random_foldings(network, 3))
    first, line = parameters.layers[0], lines(parameters)[0]
    w = first.window
    assert f"{first.channels} > {first.outputs} channels" in line
    assert f"{w.kernel_height}x{w.kernel_width} windows of 6x5 pixels" in line
    assert line.endswith(f"{first.folding.multiplier}, {first.folding.weight_memory}")


def test_reports_of_builds_from_before_there_were_pairs_are_still_read():
    layer = random_conv_network(3, blocks=["conv"], shape=(2, 6, 5))
    parameters = layer.parameters(random_foldings(layer, 3)).layers[0]
    old = {"kind": parameters.kind, **dataclasses.asdict(parameters)}
    new = layer_line(0, old)
    del old["folding"]["paired"]
    assert layer_line(0, old) == new
