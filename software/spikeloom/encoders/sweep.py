"""Encode, decode and score many parameter sets at once: channels and candidates become rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeloom.encoders.fit_report import Error

__all__ = ["Sweep", "Tried"]

#: Samples encoded at a time: more would leave the cache, fewer would count calls.
BLOCK = 1 << 17


@dataclass
class Tried:
    """What was tried on each channel: float64 (channels, k), parameters by name."""

    values: dict[str, Tensor]
    error: Tensor
    mse: Tensor
    density: Tensor

    def joined(self, more: Tried) -> Tried:
        """These and more."""

        def cat(a: Tensor, b: Tensor) -> Tensor:
            return torch.cat((a, b), 1)

        return Tried(
            {name: cat(value, more.values[name]) for name, value in self.values.items()},
            cat(self.error, more.error),
            cat(self.mse, more.mse),
            cat(self.density, more.density),
        )


class Sweep:
    """Encodes, decodes and scores parameter sets."""

    def __init__(self, cls: type[Any], x: Tensor, kind: Error, common: Mapping[str, Any]):
        self.cls, self.x, self.kind, self.common = cls, x, kind, common
        wide = x.double().transpose(0, 1).reshape(x.shape[1], -1)
        self.variance = wide.var(1, unbiased=False)

    def encoder(self, values: Mapping[str, Tensor], options: Mapping[str, Any] = {}) -> Any:
        """Encoder of (channels, k) parameters, candidates of a channel side by side."""
        channels = self.x.shape[1]
        k = next(iter(values.values())).shape[1] if values else 1
        table = {**self.common, **options}
        for name, value in table.items() if k > 1 else ():
            if name == "trainable" or isinstance(value, str):
                continue
            if isinstance(value, Tensor | Sequence | np.ndarray):
                each = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
                one_a_channel = 2 if name == "taps" else 1
                if each.ndim == one_a_channel and len(each) == channels:
                    table[name] = each.repeat_interleave(k, 0)
        table.update({name: value.reshape(-1) for name, value in values.items()})
        if channels * k == 1:
            table = {
                name: v.reshape(()) if isinstance(v, Tensor) and v.shape == (1,) else v
                for name, v in table.items()
            }
        return self.cls(**table)

    def run(self, values: dict[str, Tensor], tick: Any) -> Tried:
        """Try parameters (channels, k)."""
        records, channels, length = self.x.shape
        count = next(iter(values.values())).shape[1] if values else 1
        at_once = max(1, BLOCK // self.x.numel())
        scores = []
        for k in range(0, count, at_once):
            block = {name: value[:, k : k + at_once] for name, value in values.items()}
            width = min(at_once, count - k)
            rows = self.x[:, :, None].expand(records, channels, width, length)
            encoder = self.encoder(block, {"trainable": False})
            spikes, back = encoder._round_trip(rows.reshape(records, channels * width, length))
            back = back.reshape(rows.shape)
            density = spikes.abs().sum((0, 2), dtype=torch.float64) / (records * length)
            mse = (back - rows).double().square_().mean((0, 3))
            scores.append((self._error(back, mse), mse, density.reshape(channels, width)))
            tick(channels * width)
        error, mse, density = (torch.cat(s, 1) for s in zip(*scores, strict=True))
        return Tried(values, error, mse, density)

    def _error(self, back: Tensor, mse: Tensor) -> Tensor:
        variance = torch.where(self.variance == 0, 1.0, self.variance)[:, None]
        if self.kind == "mse":
            return mse / variance
        y = back.double()
        y = y - y.mean((0, 3), keepdim=True)
        x = self.x.double()
        x = (x - x.mean((0, 2), keepdim=True))[:, :, None]
        norm = (variance * y.square().mean((0, 3))).sqrt()
        # a decoded constant follows nothing: 1, as no correlation
        return 1 - torch.where(norm > 0, (x * y).mean((0, 3)) / norm, 0.0)
