"""The iso-bit baseline of ``fashion.py``: the same network, quantised by torch.ao.

Batch norms folded; what each ReLU gives is T bits, unsigned; weights 8 bits, one scale an output;
pictures and biases as they are. Thresholds of the activations come from torch.ao's
``HistogramObserver``, which searches the clip of least square error, on the same calibration
pictures. Two things are in the baseline's favour: the observer is told that there are 2^T levels
(its search would assume 256), and average pools are not rounded (SpikePack's wide words are not).
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, HistogramObserver, PerChannelMinMaxObserver
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_BATCH = 500


def folded(model: nn.Module) -> list[nn.Module]:
    """Layers of a trained chain with its batch norms folded, dropouts left out; copies."""
    layers: list[nn.Module] = []
    for module in copy.deepcopy(model).children():
        if isinstance(module, nn.BatchNorm2d):
            conv = layers.pop()
            assert isinstance(conv, nn.Conv2d)
            layers.append(fuse_conv_bn_eval(conv, module))
        elif isinstance(module, nn.BatchNorm1d):
            linear = layers.pop()
            assert isinstance(linear, nn.Linear)
            layers.append(fuse_linear_bn_eval(linear, module))
        elif not isinstance(module, nn.Dropout):
            layers.append(module)
    return layers


def activations(bits: int) -> FakeQuantize:
    """Quantiser of what a ReLU gives: unsigned, bits wide, one clip a layer."""
    top = (1 << bits) - 1
    fake = FakeQuantize(
        HistogramObserver, quant_min=0, quant_max=top, dtype=torch.quint8,
        qscheme=torch.per_tensor_affine,
    )  # fmt: skip
    fake.activation_post_process.dst_nbins = top + 1
    return fake


@torch.no_grad()
def rounded(weight: Tensor, bits: int = 8) -> Tensor:
    """Weights on integers +-(2^(bits-1) - 1), one scale an output."""
    top = (1 << (bits - 1)) - 1
    fake = FakeQuantize(
        PerChannelMinMaxObserver, quant_min=-top, quant_max=top, dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric, ch_axis=0,
    )  # fmt: skip
    return fake(weight)


@torch.no_grad()
def iso_bit(model: nn.Module, calibration: NDArray[np.uint8], bits: int) -> nn.Sequential:
    """Quantise a trained network: T-bit activations, 8-bit weights; float32 on integers' grids.

    calibration: uint8 (n, *sample shape). Layers are calibrated in order, each on what the
    quantised layers before it give.
    """
    x = torch.from_numpy(calibration).to(torch.float32) / 255
    layers: list[nn.Module] = []
    with warnings.catch_warnings():
        # torch.ao is to move to a package of its own; and ReLUs start observers at zero
        warnings.simplefilter("ignore")
        for layer in folded(model):
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.weight.copy_(rounded(layer.weight))
            layers.append(layer.eval())
            x = torch.cat([layer(part) for part in x.split(_BATCH)])
            if isinstance(layer, nn.ReLU):
                fake = activations(bits)
                fake(x)
                fake.disable_observer()
                layers.append(fake.eval())
                x = fake(x)
    return nn.Sequential(*layers).eval()
