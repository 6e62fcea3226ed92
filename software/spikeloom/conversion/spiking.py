"""The spiking twin of a model: an ordinary torch module, float, trainable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeloom.conversion import state
from spikeloom.conversion.layers import SpikingLayer
from spikeloom.errors import InputError
from spikeloom.ops import short_shapes

__all__ = ["EdgeReport", "InputWords", "Report", "SpikingNetwork", "as_images", "shaped"]


def as_images(images: Tensor | NDArray) -> Tensor:
    """Return images as floats 0..1: uint8 is divided by 255, floats are checked to be in 0..1.

    Raises InputError on another dtype or range.
    """
    x = torch.as_tensor(images)
    if x.dtype == torch.uint8:
        return x.to(torch.get_default_dtype()) / 255
    if not x.is_floating_point():
        raise InputError(f"images are {x.dtype}: use uint8 0..255, or floats 0..1")
    if x.numel() and not (0 <= float(x.min()) and float(x.max()) <= 1):
        raise InputError(
            f"float images hold {float(x.min()):g}..{float(x.max()):g}, allowed are 0..1 (pixels"
            " / 255): put any normalisation into the model, as spikeloom.conversion.Normalise"
        )
    return x


def _takes(sample_shape: tuple[int, ...]) -> str:
    return f"the network takes (n, {', '.join(map(str, sample_shape))})"


def shaped(images: Tensor, sample_shape: tuple[int, ...], name: str = "images") -> Tensor:
    """Return images (n, *sample shape); an axis of length 1 may be missing.

    Raises InputError, which calls them ``name``, for others.
    """
    if tuple(images.shape[1:]) in short_shapes(sample_shape):
        images = images.reshape(len(images), *sample_shape)
    if tuple(images.shape[1:]) != sample_shape:
        raise InputError(f"{name} have shape {tuple(images.shape)}, {_takes(sample_shape)}")
    return images


class InputWords(nn.Module):
    """Round images 0..1 to the values of T-bit words, half up as the integer network does."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    @property
    def top(self) -> int:
        """Greatest word."""
        return (1 << self.bits) - 1

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, uint8 or floats 0..1, to floats of the same shape."""
        return torch.floor(as_images(x) * self.top + 0.5) / self.top

    def extra_repr(self) -> str:
        """Parameters, for ``print(model)``."""
        return f"bits={self.bits}"


@dataclass(frozen=True, eq=False)
class EdgeReport:
    """One word stream between layers.

    name: the layer that makes the words. steps: T. granularity: who shares a threshold. thresholds:
    real value of one LSB, (channels,). error: root mean square difference to the original network's
    activations on the calibration data, relative to their root mean square. rate: mean share of
    non-zero words. pruned: channels that never fired. rule: how thresholds were found, empty where
    nothing was searched.
    """

    name: str
    steps: int
    granularity: str
    thresholds: NDArray[np.float64]
    error: float
    rate: float
    pruned: tuple[int, ...]
    rule: str = ""


@dataclass(frozen=True)
class Report(Sequence[EdgeReport]):
    """What a conversion did, edge by edge; ``str`` gives a table."""

    edges: tuple[EdgeReport, ...]

    def __len__(self) -> int:
        return len(self.edges)

    def __iter__(self) -> Iterator[EdgeReport]:
        return iter(self.edges)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one edge, or a slice of them."""
        return self.edges[index]

    def __str__(self) -> str:
        head = (
            f"{'edge':<16}{'T':>3}  {'scale':<19}{'threshold':>21}{'error':>8}{'rate':>7}  pruned"
        )
        rows = [head]
        for e in self.edges:
            low, high = float(e.thresholds.min()), float(e.thresholds.max())
            span = f"{low:.4g}" if low == high else f"{low:.4g} .. {high:.4g}"
            rows.append(
                f"{e.name:<16}{e.steps:>3}  {f'{e.granularity} {e.rule}':<19}{span:>21}"
                f"{e.error:>8.2%}"
                f"{e.rate:>7.1%}  {len(e.pruned)}"
            )
        return "\n".join(rows)


class SpikingNetwork(nn.Module):
    """The spiking twin: input words, then layers of spikes, then logits. Made by ``convert``.

    forward: images (n, *sample shape), uint8 or floats 0..1, to logits (n, classes); samples of one
    channel may come without that axis, and samples of width 1 as (n, channels, length).
    Dropping the time axis is exact: at tau = 2 the T spikes of a neuron are the bits of one word.
    """

    def __init__(
        self,
        layers: Sequence[SpikingLayer],
        sample_shape: tuple[int, ...],
        input_bits: int,
        report: Report,
    ) -> None:
        super().__init__()
        self.sample_shape = sample_shape
        self.encode = InputWords(input_bits)
        self.layers = nn.ModuleList(layers)
        self._report = report
        self._last_use = {
            name: index for index, layer in enumerate(layers) for name in layer.sources
        }

    @property
    def spiking_layers(self) -> tuple[SpikingLayer, ...]:
        """The layers, in order, with their type."""
        return tuple(cast(SpikingLayer, layer) for layer in self.layers)

    @property
    def takes(self) -> str:
        """The shape of samples, for messages."""
        return _takes(self.sample_shape)

    def shaped(self, images: Tensor, name: str = "images") -> Tensor:
        """Return images (n, *sample shape); InputError, which calls them ``name``, for others."""
        return shaped(images, self.sample_shape, name)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes); InputError on a wrong shape, dtype or range."""
        x = self.encode(self.shaped(images)).to(next(self.parameters()).dtype)
        values = {"input": x}
        for index, layer in enumerate(self.spiking_layers):
            x = layer(*(values[name] for name in layer.sources))
            values[layer.name] = x
            for name in layer.sources:
                if self._last_use[name] == index:
                    values.pop(name, None)
        return x

    def report(self) -> Report:
        """Bits, thresholds and error of every edge, as measured in calibration."""
        return self._report

    def get_extra_state(self) -> Tensor:
        """Structure and report for ``state_dict``, as a tensor of bytes."""
        return state.pack(self)

    def set_extra_state(self, state_of: object) -> None:
        """Take the report of a state_dict; InputError where its structure is another one's."""
        given = state.unpack(state_of)
        if given["structure"] != state.structure(self):
            raise InputError("the state_dict is of another spiking network")
        edges = (
            {**e, "thresholds": np.array(e["thresholds"]), "pruned": tuple(e["pruned"])}
            for e in given["report"]
        )
        self._report = Report(tuple(EdgeReport(**e) for e in edges))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state_dict: the same logits. InputError, one line, for another network's."""
        wrong = state.difference(self, state_dict) if strict else ""
        if wrong:
            raise InputError(f"the state_dict is of another spiking network: {wrong}")
        return super().load_state_dict(state_dict, strict, assign)
