"""Random integer networks and samples for benches and tests; a plain reference beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from spikeloom.hardware.folding import Folding
from spikeloom.network import Dense, Flatten, Network, Readout, accumulator_width
from spikeloom.ops import Conv2d

from spikeloom_sim.random_conv import BLOCKS, random_conv_network
from spikeloom_sim.reference import reference, reference_trace

__all__ = [
    "BLOCKS",
    "random_conv_network",
    "random_foldings",
    "random_network",
    "random_words",
    "reference",
    "reference_trace",
]


def random_network(
    sizes: Sequence[int],
    *,
    seed: int,
    bits: Sequence[int] = (),
    weight_bits: int = 8,
    threshold_bits: int = 16,
    spare_bits: int = 0,
) -> Network:
    """Return a fully connected network with random weights, thresholds and biases.

    sizes: words in, neurons of each layer that fires, classes. bits: T of the input and of each
    layer that fires; 4 without. spare_bits: accumulators wider than the weights need by so much.
    Thresholds spread from 1 to the top, most of them where words take every value; one neuron in
    eight never fires, one in eight fires without input.
    """
    generator = np.random.default_rng(seed)
    widths = list(bits) or [4] * (len(sizes) - 1)
    top = (1 << (weight_bits - 1)) - 1
    ops: list[Flatten | Dense | Readout] = []
    for index in range(len(sizes) - 1):
        inputs, outputs, input_bits = sizes[index], sizes[index + 1], widths[index]
        weight = generator.integers(-top, top, (outputs, inputs), endpoint=True, dtype=np.int64)
        spread = max(1.0, float(np.sqrt(inputs)) * top * (1 << input_bits) / 6)
        bias = generator.normal(0, spread / 4, outputs).round().astype(np.int64)
        fires = index < len(sizes) - 2
        threshold = np.ones(outputs, dtype=np.int64)
        if fires:
            limit = (1 << threshold_bits) - 1
            steps = 1 << widths[index + 1]
            threshold = generator.uniform(0.2, 3, outputs) * spread / steps
            threshold = np.clip(threshold.round(), 1, limit).astype(np.int64)
            threshold[generator.random(outputs) < 0.05] = limit
            kind = generator.integers(0, 8, outputs)
            bias[kind == 0] = -1  # a pruned neuron, as the lowering writes it
            weight[kind == 0] = 0
            threshold[kind == 0] = 1
            bias[kind == 1] = 2 * threshold[kind == 1]
        p_max = (1 << input_bits) - 1
        low = bias + np.minimum(weight, 0).sum(1) * p_max
        high = bias + np.maximum(weight, 0).sum(1) * p_max
        common = {
            "name": f"layer{index}",
            "weight": weight.astype(np.int8),
            "bias": bias,
            "input_bits": input_bits,
            "weight_bits": weight_bits,
            "accumulator_bits": min(32, accumulator_width(low, high) + spare_bits),
        }
        if fires:
            ops.append(
                Dense(
                    **common,
                    threshold=threshold,
                    output_bits=widths[index + 1],
                    output_scale=np.ones(outputs),
                    threshold_bits=threshold_bits,
                )
            )
        else:
            ops.append(Readout(**common, logit_scale=1.0))
    return Network(ops, (sizes[0],), widths[0])


def random_foldings(network: Network, seed: int, *, units: int = 3) -> list[Folding]:
    """Return one random legal folding a layer; units: the most that a convolution gets."""
    rng = np.random.default_rng(seed)
    base = int(rng.choice([1, 1, 1, 2, 3]))
    foldings = []
    for op in network.layers:
        fire = base << int(rng.integers(0, 3))
        scan = base << int(rng.integers(0, 3))
        fits: dict[str, Any] = {
            "lanes": fire * int(rng.integers(1, 4)),
            "fire_lanes": fire,
            "scan": scan,
        }
        fits["form"] = str(rng.choice(["packed", "serial"]))
        if isinstance(op, Conv2d) and op.depthwise:
            # its lanes are the words of a transfer too
            fits["lanes"] = fire << int(rng.integers(0, 2))
        elif isinstance(op, Conv2d):
            width = network.edges[op.name].shape[2]
            fits["units"] = int(rng.integers(1, min(units, width) + 1))
            fits["slices"] = _divisor(rng, scan, op.inputs)
        elif isinstance(op, (Dense, Readout)):
            fits["slices"] = _divisor(rng, scan, op.inputs)
        else:
            fits["lanes"] = fire
        foldings.append(Folding(**fits))
    return foldings


def _divisor(rng: np.random.Generator, number: int, most: int) -> int:
    return int(rng.choice([n for n in range(1, number + 1) if number % n == 0 and n <= most]))


def random_words(network: Network, samples: int, *, seed: int) -> np.ndarray:
    """Return uint8 (samples, inputs): sparse, dense, empty and full samples, one after another."""
    generator = np.random.default_rng(seed)
    top = (1 << network.input_bits) - 1
    shape = (samples, network.inputs)
    words = generator.integers(0, top, shape, endpoint=True, dtype=np.uint8)
    density = np.resize([0.2, 1.0, 0.0, 0.05, 0.5], samples)
    words[generator.random(shape) >= density[:, None]] = 0
    words[4::7] = top
    return words
