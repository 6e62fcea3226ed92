"""What a board says about itself, and whether this driver and a network fit it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikeloom.errors import AccumulatorOverflowError, DeviceError, SpikeloomError
from spikeloom.hardware import protocol, registers
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    LayerParameters,
    NetworkParameters,
    PadParameters,
    PoolParameters,
    SynapseParameters,
)
from spikeloom.hardware.structure import layer_parameters
from spikeloom.ops import Conv2d, Dense, Readout, Synapses

if TYPE_CHECKING:
    from spikeloom.network import Network

STANDARD_RATES = (3_000_000, 2_000_000, 1_000_000, 921_600, 500_000, 460_800, 230_400, 115_200)
RATE_ERROR = 0.02  #: two ends of a line may differ by this much


def line_rates(clock_hz: float, max_baud: int) -> list[tuple[int, int]]:
    """Rates that a board's clock makes to within 2 %, fastest first: (baud, cycles a bit)."""
    wanted = {max_baud, *(rate for rate in STANDARD_RATES if rate <= max_baud)}
    found = []
    for baud in sorted(wanted, reverse=True):
        cycles = round(clock_hz / baud)
        if 1 <= cycles <= 1 << 16 and abs(clock_hz / cycles / baud - 1) <= RATE_ERROR:
            found.append((baud, cycles))
    return found


@dataclass(frozen=True)
class DeviceInfo:
    """What a board says about itself.

    clock_hz: of the network core. results, samples, frames: buffers of its link. zero_runs: it
    understands coded runs of zero words. fixed_weights: its weights are in the bitstream.
    structure, counters: lengths of those register blocks. baud: present rate of the line.
    """

    address: str
    protocol_version: int
    build_id: int
    map_hash: int
    clock_hz: int
    board_id: int
    zero_runs: bool
    fixed_weights: bool
    results: int
    samples: int
    frames: int
    max_frame: int
    structure: int
    counters: int
    baud: int

    @classmethod
    def from_words(cls, words: Sequence[int], *, address: str, baud: int) -> DeviceInfo:
        """Take the identity registers apart; DeviceError if this driver cannot talk to them."""
        where = f" at {address}" if address else ""
        if len(words) != len(registers.IDENTITY):
            raise DeviceError(f"the board{where} sent an identity of {len(words)} words")
        value = dict(zip((r.name for r in registers.IDENTITY), words, strict=True))
        speaks, board, buffers, counts = (
            registers.fields(name, value[name])
            for name in ("protocol", "board", "buffers", "counts")
        )
        if speaks["magic"] != registers.MAGIC or speaks["version"] != protocol.VERSION:
            raise DeviceError(
                f"the board{where} speaks version {speaks['version']} of the link protocol,"
                f" this driver {protocol.VERSION}: rebuild the bitstream with this version"
            )
        if value["map_hash"] != registers.map_hash():
            raise DeviceError(
                f"the board{where} has another register map ({value['map_hash']:#010x}) than"
                f" this driver ({registers.map_hash():#010x}): rebuild the bitstream"
            )
        return cls(
            address=address,
            protocol_version=speaks["version"],
            build_id=value["build_id_high"] << 32 | value["build_id_low"],
            map_hash=value["map_hash"],
            clock_hz=value["clock_hz"],
            board_id=board["id"],
            zero_runs=bool(board["capabilities"] & registers.Capability.ZERO_RUNS),
            fixed_weights=bool(board["capabilities"] & registers.Capability.FIXED_WEIGHTS),
            **buffers,
            **counts,
            baud=baud,
        )


def parse_structure(words: Sequence[int], info: DeviceInfo) -> NetworkParameters:
    """Rebuild the network that a board runs; DeviceError if it is none, or not its build id's."""
    where = f" at {info.address}" if info.address else ""
    try:
        parameters = NetworkParameters.from_words(tuple(words))
    except (ValueError, IndexError) as error:
        raise DeviceError(f"the board{where} describes an impossible network: {error}") from error
    except SpikeloomError as error:
        raise DeviceError(str(error)) from error
    if parameters.build_id != info.build_id:
        raise DeviceError(
            f"the board{where} has build id {info.build_id:016x}, the network that it describes"
            f" has {parameters.build_id:016x}: rebuild the bitstream"
        )
    if info.counters != len(parameters.counter_names):
        raise DeviceError(
            f"the board{where} has {info.counters} counters, this driver expects"
            f" {len(parameters.counter_names)}: rebuild the bitstream"
        )
    return parameters


def _size(layer: LayerParameters) -> str:
    """A layer in a few characters, as ``Network.sizes`` writes it."""
    if isinstance(layer, DenseParameters):
        return str(layer.outputs)
    if isinstance(layer, (ConvParameters, DepthwiseParameters)):
        kernel = {layer.window.kernel_height, layer.window.kernel_width}
        shape = "x".join(map(str, sorted(kernel, reverse=True)))
        return f"{layer.outputs}{'dw' if layer.kind == 'depthwise' else 'c'}{shape}"
    if isinstance(layer, PoolParameters):
        return f"{'mp' if layer.rule == 'max' else 'ap'}{layer.window.kernel_height}"
    return "pad2d" if isinstance(layer, PadParameters) else layer.kind


def _describe(parameters: NetworkParameters) -> str:
    """Sizes and widths in a few words: ``784-128-10 T=8/4 W=8/8``."""
    first, port = parameters.layers[0], parameters.input_port
    head = str(port.channels * port.pixels)
    if not isinstance(first, DenseParameters):
        frame: Any = getattr(first, "window", first)
        flat = not hasattr(frame, "height")
        size = (port.pixels,) if flat else (frame.height, frame.width)
        head = "x".join(map(str, (port.channels, *size)))
    sizes = "-".join([head, *(_size(p) for p in parameters.layers)])
    return f"{sizes} {_widths([p for p in parameters.layers if isinstance(p, SynapseParameters)])}"


def _widths(layers: Sequence[Any]) -> str:
    """T of the words into, and bits of the weights of, layers or ops with weights."""
    steps, widths = ("/".join(str(getattr(p, n)) for p in layers) for n in _WIDTHS)
    return f"T={steps} W={widths}"


_WIDTHS = ("input_bits", "weight_bits")

#: fields of a layer that the bitstream may have wider than the network needs
_WIDER = frozenset({"accumulator_bits", "threshold_bits", "skip_weight_bits"})


def _difference(network: Network, parameters: NetworkParameters) -> str:
    """Say in what the first layer that differs does; empty if the structures are the same."""
    ops, layers = network.layers, parameters.layers
    index = {op.name: k for k, op in enumerate(ops)} | {"input": -1}
    for k, (op, p) in enumerate(zip(ops, layers, strict=False)):
        where = f"layer {k} ({op.name!r})"
        try:
            wanted = layer_parameters(network, op, p.folding)
        except ValueError as error:
            return f"{where}: {error}"
        if type(wanted) is not type(p):
            return f"{where} is {wanted.kind}, on the board it is {p.kind}"
        wider = _WIDER | ({"weight_bits"} if isinstance(p, AddParameters) else set())
        for f in dataclasses.fields(p):
            ours, theirs = getattr(wanted, f.name), getattr(p, f.name)
            # accumulators and thresholds are checked by value; a skip has its weights, or none
            fits = f.name in wider and bool(ours) == bool(theirs)
            if ours != theirs and not fits:
                return f"{where} has {_change(f.name, ours, theirs)} on the board"
        sources = tuple(index[name] for name in network.layer_sources(op))
        if sources != parameters.sources[k]:
            theirs = parameters.sources[k]
            return f"{where} takes what layers {sources} give, {theirs} on the board"
    if len(ops) != len(layers):
        return f"it has {len(ops)} layers, {len(layers)} on the board"
    return ""


def _change(name: str, ours: Any, theirs: Any) -> str:
    """``outputs 16, 32``; of a geometry, the first number that differs."""
    if dataclasses.is_dataclass(ours):
        name, ours, theirs = next(
            (f.name, getattr(ours, f.name), getattr(theirs, f.name))
            for f in dataclasses.fields(ours)
            if getattr(ours, f.name) != getattr(theirs, f.name)
        )
    return f"{name} {ours}, {theirs}"


def check_network(network: Network, parameters: NetworkParameters, where: str = "") -> None:
    """Refuse a network that a bitstream was not built for, or that could overflow in it.

    Raises DeviceError naming both structures and the first layer that differs,
    AccumulatorOverflowError naming the layer.
    """
    difference = _difference(network, parameters)
    if difference:
        weighted = [op for op in network.layers if isinstance(op, (Dense, Readout, Conv2d))]
        raise DeviceError(
            f"this bitstream was not built for this network: the board{where} runs"
            f" {_describe(parameters)}, the network is {network.sizes} {_widths(weighted)}:"
            f" {difference} (build a bitstream for it: spikeloom build NET --board ...)"
        )
    for op, p in zip(network.layers, parameters.layers, strict=True):
        if not isinstance(op, Synapses):
            continue
        _check_bounds(op, p)


def _check_bounds(op: Synapses, p: Any) -> None:
    """Refuse potentials, thresholds and weights of a skip that the gates cannot hold."""
    low, high = op.potential_bounds()
    limit = 1 << (p.accumulator_bits - 1)
    if int(low.min()) < -limit or int(high.max()) >= limit:
        raise AccumulatorOverflowError(
            f"layer {op.name!r}: v0 can reach {low.min()}..{high.max()}, the board's"
            f" accumulator of {p.accumulator_bits} bits holds {-limit}..{limit - 1}:"
            " build a bitstream for this network"
        )
    threshold = getattr(op, "threshold", None)
    if threshold is not None and int(threshold.max()) >= 1 << p.threshold_bits:
        raise DeviceError(
            f"layer {op.name!r}: threshold {threshold.max()} exceeds the"
            f" {p.threshold_bits} bits of the board: build a bitstream for this network"
        )
