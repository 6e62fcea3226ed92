"""Train a spiking network a little more: ``fine_tune``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from spikeloom.conversion.spiking import SpikingNetwork
from spikeloom.conversion.tuning import Tuned
from spikeloom.errors import InputError
from spikeloom.training import Recipe, train

__all__ = ["FINE_TUNE", "fine_tune"]

#: An eighth of the rate that trains from scratch; no weight decay, which would pull thresholds.
FINE_TUNE = Recipe(updates=1000, batch=128, rate=5e-4, weight_decay=0.0, label_smoothing=0.0)


def fine_tune(
    snn: SpikingNetwork,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    recipe: Recipe = FINE_TUNE,
    *,
    weight_bits: int | None = 8,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> SpikingNetwork:
    """Train weights, biases and thresholds of a spiking network; it is left as it is.

    snn: from ``convert``, or from ``spiking``. images: uint8 (n, *sample shape). labels: classes.
    weight_bits: W of the weights, 2..8. The network that is returned then lowers with
    ``lower(network, weight_bits)`` to the very weights, biases and thresholds that were trained, so
    that integers decide as it does. None trains floats, which lowering rounds.
    progress: called with the update and its loss, now and then.

    Raises InputError where images do not fit, ValueError on weight_bits, UnsupportedModelError for
    a sum of three or more terms that fires once, unless weight_bits is None.
    """
    if images.dtype != np.uint8 or len(images) != len(labels) or len(images) == 0:
        raise InputError(
            f"images must be uint8 with a label each, not {images.dtype} {images.shape} with"
            f" {len(labels)} labels"
        )
    images = snn.shaped(torch.from_numpy(images)).numpy()
    tuned = Tuned(snn, weight_bits)
    train(lambda: tuned, images, labels, recipe, seed=seed, progress=progress)
    return tuned.frozen().eval()
