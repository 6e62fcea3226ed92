"""Convert one of Spikeloom's trained convolutional networks to spikes, lower it, and save it.

    python software/examples/convert_cnn.py --net scnn5       # needs `make data`
    python software/examples/convert_cnn.py --net resnet8 --steps 4 --weight-bits 8

Writes NET.spikeloom (the integer network), and prints the accuracy of the trained network, of its
spiking twin and of the integers on the test part. The networks that come with Spikeloom were made
by these commands, on one thread, and then copied into software/spikeloom/shipped_networks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import spikeloom as sl
import torch
from numpy.typing import NDArray
from spikeloom.checkpoint import load_checkpoint
from spikeloom.conversion import lowering_report
from spikeloom.data import (
    Images,
    as_rgb32,
    digits_10k,
    idx_folder,
    motion_windows,
    spread,
    with_channels,
)
from spikeloom.errors import SpikeloomError
from spikeloom.training import accuracy, predict

FASHION = Path("data/fashion-mnist")
DATA: dict[str, Callable[[], Images]] = {
    "lenet": lambda: with_channels(idx_folder(FASHION)),
    "scnn5": lambda: with_channels(digits_10k("data/mnist-10k")),
    "resnet8": lambda: as_rgb32(idx_folder(FASHION)),
    "imu-cnn": motion_windows,
}
#: T where 4 steps cost more than half a point: depthwise layers sum too few words to hide rounding.
STEPS = {"imu-cnn": 6}
_BATCH = 500


def integers(network: sl.Network, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Classes (n,) that the integer network decides."""
    parts = [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
    return np.concatenate([network.run(part).argmax(1) for part in parts])


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Convert a trained convolutional network to spikes and integers."
    )
    parser.add_argument("--net", choices=sorted(DATA), required=True)
    parser.add_argument("--checkpoint", help="a file; default: the one that comes with Spikeloom")
    parser.add_argument("--out", type=Path, default=Path("build/train"))
    parser.add_argument("--steps", type=int, help="T: spikes of a hidden neuron; default: 4, or 6")
    parser.add_argument("--weight-bits", type=int, default=8)
    parser.add_argument("--images", type=int, default=500, help="training images to calibrate on")
    parser.add_argument(
        "--reconstruct", action="store_true", help="fit the weights to those images (few bits)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order: the same bits every time
    steps = arguments.steps or STEPS.get(arguments.net, 4)
    try:
        data = DATA[arguments.net]()
        model = load_checkpoint(arguments.checkpoint or arguments.net)
        start = time.monotonic()
        calibration = spread(data.train_images, arguments.images)
        snn = sl.convert(model, calibration, steps=steps)
        network = sl.lower(
            snn,
            weight_bits=arguments.weight_bits,
            reconstruct=calibration if arguments.reconstruct else None,
        )
        seconds = time.monotonic() - start
        network.metadata["trained on"] = data.name
        arguments.out.mkdir(parents=True, exist_ok=True)
        path = arguments.out / f"{arguments.net}.spikeloom"
        network.save(path)
    except (SpikeloomError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    print(snn.report())
    for layer in lowering_report(network):
        print(
            f"{layer.name}: {layer.accumulator_bits} bits of potential, weights off by"
            f" {layer.weight_error:.2%}, {layer.clipped} clipped, {layer.raised} raised,"
            f" {layer.pruned} pruned"
        )
    print(f"{path}: {network}, {path.stat().st_size} bytes, {seconds:.0f} s of conversion")
    ann, spiking = (predict(m, data.test_images) for m in (model, snn))
    decided = integers(network, data.test_images)
    right = [accuracy(found, data.test_labels) for found in (ann, spiking, decided)]
    print(f"accuracy on {len(ann)} test samples of {data.name}: ANN {right[0]:.2%},")
    print(f"  SNN {right[1]:.2%}, {steps} steps,")
    print(f"  integers {right[2]:.2%}, {arguments.weight_bits}-bit weights,")
    print(f"  {100 * (right[2] - right[0]):+.2f} points; ANN and integers agree on", end=" ")
    print(f"{accuracy(ann, decided):.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
