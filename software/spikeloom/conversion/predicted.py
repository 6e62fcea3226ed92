"""What rounding to integers loses, predicted without labels on samples of the training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeloom.conversion.spiking import SpikingNetwork
from spikeloom.errors import InputError
from spikeloom.network import Network

__all__ = ["LoweringLoss", "lowering_loss"]

_BATCH = 250  # samples at once: bounds the memory


@dataclass(frozen=True)
class LoweringLoss:
    """How far the integers are from the float spiking network on some samples.

    logits: root mean square difference of the logits, relative to their root mean square about the
    mean of each sample. decisions: share of the decisions that changed. samples: how many.
    """

    logits: float
    decisions: float
    samples: int

    def __str__(self) -> str:
        return (
            f"rounding to integers moves the logits by {self.logits:.2%} and changes"
            f" {self.decisions:.2%} of the decisions"
        )


@torch.no_grad()
def lowering_loss(snn: SpikingNetwork, network: Network, images: Tensor | NDArray) -> LoweringLoss:
    """Compare ``network = lower(snn, ...)`` with snn itself.

    images: (n, *sample shape), no labels; best some that neither was calibrated nor reconstructed
    on. Raises InputError on wrong images, or none.
    """
    x = snn.shaped(torch.as_tensor(images))
    if not len(x):
        raise InputError(f"no images are given to predict a loss on, {snn.takes} with n > 0")
    scale = network.layers[-1].logit_scale  # type: ignore[union-attr]
    exact = np.concatenate([snn(part).double().cpu().numpy() for part in x.split(_BATCH)])
    ours = np.concatenate([network.run(part.cpu().numpy()) * scale for part in x.split(_BATCH)])
    spread = np.square(exact - exact.mean(1, keepdims=True)).mean()
    off = np.square(ours - exact).mean()
    return LoweringLoss(
        float(np.sqrt(off / spread)) if spread else 0.0,
        float((ours.argmax(1) != exact.argmax(1)).mean()),
        len(x),
    )
