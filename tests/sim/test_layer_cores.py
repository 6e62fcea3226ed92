"""Every kind of layer in the C++ harness, with pauses everywhere: ten thousand words of each.

The full run, twelve shapes of each kind and a million words of each, is benchmarks/layer_bits.py.
"""

from collections import Counter

import pytest
from spikeloom_sim.harness import CoreHarness, Stalls
from spikeloom_sim.layer_cases import describe, kind_of
from spikeloom_sim.layer_shapes import CASES
from spikeloom_sim.random_network import random_words
from spikeloom_sim.trace import run_trace

WORDS = 10_000
KINDS = {"conv", "maxpool", "avgpool", "depthwise", "add", "fire", "pad"}


@pytest.mark.parametrize("name", ["skip potentials", "serial, slices, units"])
def test_layers_equal_the_golden_model(name):
    case = next(case for case in CASES if case.name == name)
    network, parameters = case.build()
    layers = network.layers[:-1]
    assert {kind_of(op) for op in layers} == KINDS
    harness = CoreHarness(parameters, name="layers", optimise="-O1")
    samples = -(-WORDS // min(network.edges[op.name].size for op in layers))
    record = run_trace(
        network,
        parameters,
        random_words(network, samples, seed=2),
        harness=harness,
        stalls=Stalls(2, inside=0.25),
        batch=10,  # pauses get another seed
    )
    assert record.verdict().startswith("all ")
    for seen in record.layers[1:-1]:
        assert seen.compared >= WORDS


def test_twelve_shapes_of_every_kind():
    """And between them everything that a convolution can be."""
    shapes, kinds = set(), Counter()
    convolutions = []
    for case in CASES:
        network, parameters = case.build()
        for op, layer in zip(network.layers[:-1], parameters.layers, strict=False):
            shape = kind_of(op), describe(network, op, layer.folding)
            kinds[shape[0]] += shape not in shapes
            shapes.add(shape)
            if shape[0] == "conv":
                convolutions.append((op, layer.folding))
    assert all(kinds[kind] >= 12 for kind in KINDS), kinds
    folds = [fold for _, fold in convolutions]
    assert {fold.form for fold in folds} == {"packed", "serial"}
    assert {fold.multiplier for fold in folds} == {"lut", "mult18x18d", "sb_mac16"}
    assert {fold.weight_memory for fold in folds} == {"block", "spram", "distributed"}
    assert {fold.slices for fold in folds} >= {1, 2, 3, 4}
    assert {fold.units for fold in folds} >= {1, 2, 3}
    assert any(fold.paired for fold in folds)
    skips = {(op.skip_signed, op.skip_weight is not None) for op, _ in convolutions if op.skip}
    assert skips == {(signed, weighed) for signed in (False, True) for weighed in (False, True)}
    assert {op.kernel for op, _ in convolutions} >= {(1, 1), (2, 2), (3, 3), (5, 5), (5, 1), (4, 3)}
    assert {op.stride for op, _ in convolutions} >= {(1, 1), (2, 2), (2, 1), (3, 2)}
    assert {op.output_bits for op, _ in convolutions} >= {0, 1, 3, 4, 5, 6, 8}
    assert {op.weight_bits for op, _ in convolutions} >= {2, 3, 4, 5, 6, 7, 8}
