"""Operations that keep pixels: convolution, pooling, padding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikeloom.hardware.window import Window
from spikeloom.ops.checks import check_int, check_name, check_scale, integers, pair, require
from spikeloom.ops.edge import Edge, images, words
from spikeloom.ops.linear import Synapses

__all__ = ["AvgPool2d", "Conv2d", "MaxPool2d", "Pad2d", "Pair"]

Pair = tuple[int, int]


def _window(where: str, edge: Edge, kernel: Pair, stride: Pair, padding: Pair) -> Window:
    _, height, width = images(where, edge)
    try:
        return Window(height, width, *kernel, *stride, *padding)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@dataclass(frozen=True, eq=False)
class Pad2d:
    """Frame every sample with constant words, one a channel: what "zero" is after normalisation.

    word: uint8 (channels,). padding: pixels added at (top, bottom, left, right), 0..255 each.
    """

    name: str
    word: NDArray[np.uint8] = field(repr=False)
    padding: tuple[int, int, int, int]
    source: str = ""
    kind: ClassVar[str] = "pad2d"

    def __post_init__(self) -> None:
        check_name(self.name)
        where = f"op {self.name!r}"
        require(np.size(self.word) > 0, f"{where}: it needs one word a channel")
        word = integers(where, "word", self.word, (np.size(self.word),), 0, 255, np.uint8)
        object.__setattr__(self, "word", word)
        good = isinstance(self.padding, (tuple, list)) and len(self.padding) == 4
        require(good, f"{where}: padding must be four integers, not {self.padding!r}")
        for side, value in zip(("top", "bottom", "left", "right"), self.padding, strict=True):
            check_int(where, f"padding at the {side}", value, 0, 255)
        object.__setattr__(self, "padding", tuple(self.padding))

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ops that feed this one; "" is the op before."""
        return (self.source,)

    def infer(self, edge: Edge) -> Edge:
        """Return what leaves, given what enters; ValueError when it does not fit."""
        where = f"op {self.name!r}"
        channels, height, width = images(where, words(where, edge, edge.bits))
        require(
            len(self.word) == channels and int(self.word.max()) < 1 << edge.bits,
            f"{where}: {len(self.word)} words up to {int(self.word.max())} do not fit {edge}",
        )
        top, bottom, left, right = self.padding
        return Edge((channels, height + top + bottom, width + left + right), edge.bits)


@dataclass(frozen=True, eq=False)
class Conv2d(Synapses):
    """A convolution, v0 = weight * p + bias (+ skip_weight q), that fires or gives its potentials.

    weight: int8 (out channels, in channels / groups, kernel height, kernel width), within
    +-(2^(weight_bits-1) - 1). groups: 1, or the number of channels (depthwise).
    bias: int64 (out channels,), half threshold included if the layer fires.
    stride, padding: (vertical, horizontal) or one number; padded pixels are zero words.
    output_bits: T of the words out, 1..8; 0: no fire, the potentials leave, and threshold and
    output_scale are None.
    threshold: int64 (out channels,), 1 .. 2^threshold_bits - 1. output_scale: float64 (out
    channels,), the real value of one LSB of an output word.
    skip: name of an op of the same output shape, whose words (or potentials) q are added, each
    times skip_weight, int64 (out channels,), -32768..32767; without skip_weight times one.
    Raises ValueError when a field is out of its range.
    """

    name: str
    weight: NDArray[np.int8] = field(repr=False)
    bias: NDArray[np.int64] = field(repr=False)
    input_bits: int
    weight_bits: int
    accumulator_bits: int
    output_bits: int = 0
    threshold: NDArray[np.int64] | None = field(default=None, repr=False)
    output_scale: NDArray[np.float64] | None = field(default=None, repr=False)
    threshold_bits: int = 16
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1
    source: str = ""
    skip: str = ""
    skip_weight: NDArray[np.int64] | None = field(default=None, repr=False)
    skip_bits: int = 0
    skip_signed: bool = False
    kind: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        check_name(self.name)
        where = f"op {self.name!r}"
        for name, low, high in (
            ("input_bits", 1, 8),
            ("output_bits", 0, 8),
            ("weight_bits", 2, 8),
            ("accumulator_bits", 2, 32),
            ("threshold_bits", 1, 16),
            ("groups", 1, 65535),
        ):
            check_int(where, name, getattr(self, name), low, high)
        shape = np.shape(self.weight)
        require(
            len(shape) == 4 and min(shape) >= 1,
            f"{where}: weight has shape {shape}, expected (out, in / groups, height, width)",
        )
        require(
            self.groups == 1 or (self.groups == shape[0] and shape[1] == 1),
            f"{where}: groups must be 1, or the number of input and output channels (depthwise),"
            f" not {self.groups} for weights {shape}",
        )
        top = (1 << (self.weight_bits - 1)) - 1
        object.__setattr__(self, "stride", pair(where, "stride", self.stride, 1, 255))
        object.__setattr__(self, "padding", pair(where, "padding", self.padding, 0, 255))
        a = 1 << (self.accumulator_bits - 1)
        weight = integers(where, "weight", self.weight, shape, -top, top, np.int8)
        bias = integers(where, "bias", self.bias, shape[:1], -a, a - 1, np.int64)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)
        self._check_fire(where)
        self._check_skip(where)

    def _check_fire(self, where: str) -> None:
        given = self.threshold is not None and self.output_scale is not None
        if not self.output_bits:
            require(
                self.threshold is None and self.output_scale is None,
                f"{where}: without output_bits it does not fire: no threshold, no output_scale",
            )
            return
        require(given, f"{where}: a layer that fires needs threshold and output_scale")
        shape, top = (self.outputs,), (1 << self.threshold_bits) - 1
        threshold = integers(where, "threshold", self.threshold, shape, 1, top, np.int64)  # type: ignore[arg-type]
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "output_scale", check_scale(where, self.output_scale, shape))  # type: ignore[arg-type]

    def _check_skip(self, where: str) -> None:
        if not self.skip:
            require(
                self.skip_weight is None and not self.skip_bits and not self.skip_signed,
                f"{where}: skip_weight, skip_bits and skip_signed need a skip",
            )
            return
        flag = isinstance(self.skip_signed, bool)
        require(flag, f"{where}: skip_signed must be True or False, not {self.skip_signed!r}")
        check_int(where, "skip_bits", self.skip_bits, 1, 32 if self.skip_signed else 8)
        require(self.groups == 1, f"{where}: a depthwise layer takes no skip: add an Add after it")
        if self.skip_weight is not None:
            k = integers(
                where, "skip_weight", self.skip_weight, (self.outputs,), -32768, 32767, np.int64
            )
            object.__setattr__(self, "skip_weight", k)

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.weight.shape[0]

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return self.groups * self.weight.shape[1]

    @property
    def kernel(self) -> Pair:
        """(height, width) of the kernel."""
        return self.weight.shape[2:]  # type: ignore[return-value]

    @property
    def depthwise(self) -> bool:
        """Whether every channel has a kernel of its own, and no other."""
        return self.groups > 1

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ops that feed this one, the skip last; "" is the op before."""
        return (self.source, self.skip) if self.skip else (self.source,)

    def window(self, edge: Edge) -> Window:
        """Return the geometry for samples of an edge; ValueError when it does not fit."""
        return _window(f"op {self.name!r}", edge, self.kernel, self.stride, self.padding)

    def infer(self, edge: Edge, skip: Edge | None = None) -> Edge:
        """Return what leaves, given what enters; ValueError when it does not fit."""
        where = f"op {self.name!r}"
        channels, _, _ = images(where, words(where, edge, self.input_bits))
        require(
            channels == self.inputs,
            f"{where} takes {self.inputs} channels, it is given {channels}",
        )
        window = self.window(edge)
        shape = (self.outputs, window.out_height, window.out_width)
        if skip is not None:
            require(
                (skip.shape, skip.bits, skip.signed) == (shape, self.skip_bits, self.skip_signed),
                f"{where} adds {self.skip!r} to samples {shape}: it must have the same shape and"
                f" skip_bits {self.skip_bits}, it is {skip}",
            )
        if self.output_bits:
            return Edge(shape, self.output_bits)
        return Edge(shape, self.accumulator_bits, signed=True)

    def potential_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Least and greatest v0 of every output channel, (outputs,), over all inputs."""
        w, top = self.weight.astype(np.int64).reshape(self.outputs, -1), (1 << self.input_bits) - 1
        low = self.bias + np.minimum(w, 0).sum(1) * top
        high = self.bias + np.maximum(w, 0).sum(1) * top
        if self.skip:
            least, most = 0, (1 << self.skip_bits) - 1
            if self.skip_signed:
                least, most = -(1 << (self.skip_bits - 1)), (1 << (self.skip_bits - 1)) - 1
            k = np.ones(self.outputs, np.int64) if self.skip_weight is None else self.skip_weight
            low = low + np.minimum(k * least, k * most)
            high = high + np.maximum(k * least, k * most)
        return low, high


@dataclass(frozen=True, eq=False)
class _Pool:
    """Geometry of a pooling op: kernel, stride and padding, (vertical, horizontal) each."""

    name: str
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    source: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        where = f"op {self.name!r}"
        object.__setattr__(self, "kernel", pair(where, "kernel", self.kernel, 1, 255))
        object.__setattr__(self, "stride", pair(where, "stride", self.stride, 1, 255))
        object.__setattr__(self, "padding", pair(where, "padding", self.padding, 0, 127))
        for k, p in zip(self.kernel, self.padding, strict=True):
            require(2 * p <= k, f"{where}: padding {p} is more than half of kernel {k}")

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ops that feed this one; "" is the op before."""
        return (self.source,)

    def window(self, edge: Edge) -> Window:
        """Return the geometry for samples of an edge; ValueError when it does not fit."""
        return _window(f"op {self.name!r}", edge, self.kernel, self.stride, self.padding)


@dataclass(frozen=True, eq=False)
class MaxPool2d(_Pool):
    """The greatest word, or potential, of each window; padded pixels never win."""

    kind: ClassVar[str] = "maxpool2d"

    def infer(self, edge: Edge) -> Edge:
        """Return what leaves, given what enters; ValueError when it does not fit."""
        window = self.window(edge)
        shape = (edge.channels, window.out_height, window.out_width)
        return Edge(shape, edge.bits, edge.signed)


@dataclass(frozen=True, eq=False)
class AvgPool2d(_Pool):
    """Sums each window and fires: clip(floor((sum + bias) / threshold), 0, 2^T - 1).

    threshold = kernel size and bias = threshold // 2 give the rounded mean on the words' own scale;
    threshold 1 and bias 0 the sum itself, T + ceil(log2(kernel size)) bits wide. Padded pixels are
    zero words (torch's count_include_pad). The real value of an output LSB is that of an input LSB
    times threshold / kernel size.
    """

    input_bits: int = field(kw_only=True)
    output_bits: int = field(kw_only=True)
    threshold: int = field(kw_only=True)
    bias: int = field(kw_only=True, default=0)
    kind: ClassVar[str] = "avgpool2d"

    def __post_init__(self) -> None:
        super().__post_init__()
        where = f"op {self.name!r}"
        check_int(where, "input_bits", self.input_bits, 1, 8)
        check_int(where, "output_bits", self.output_bits, 1, 8)
        check_int(where, "threshold", self.threshold, 1, 65535)
        check_int(where, "bias", self.bias, -65536, 65535)

    @property
    def sum_bits(self) -> int:
        """Bits of a window's sum with the bias, two's complement."""
        most = self.kernel[0] * self.kernel[1] * ((1 << self.input_bits) - 1) + abs(self.bias)
        return most.bit_length() + 1

    def infer(self, edge: Edge) -> Edge:
        """Return what leaves, given what enters; ValueError when it does not fit."""
        window = self.window(words(f"op {self.name!r}", edge, self.input_bits))
        return Edge((edge.channels, window.out_height, window.out_width), self.output_bits)
