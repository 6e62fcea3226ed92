"""What a board says about itself, and whether this driver and a network fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeloom.errors import AccumulatorOverflowError, DeviceError, SpikeloomError
from spikeloom.hardware import protocol, registers
from spikeloom.hardware.parameters import NetworkParameters

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
    understands coded runs of zero words. structure, counters: lengths of those register blocks.
    baud: present rate of the line.
    """

    address: str
    protocol_version: int
    build_id: int
    map_hash: int
    clock_hz: int
    board_id: int
    zero_runs: bool
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
            zero_runs=bool(board["capabilities"] & 1),
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


def _describe(layers: Sequence) -> str:
    """Sizes and widths in a few words, of ops or of parameters: ``784-128-10 T=8/4 W=8/8``."""
    sizes = "-".join(str(n) for n in (layers[0].inputs, *(p.outputs for p in layers)))
    steps = "/".join(str(p.input_bits) for p in layers)
    widths = "/".join(str(p.weight_bits) for p in layers)
    return f"{sizes} T={steps} W={widths}"


def check_network(network: Network, parameters: NetworkParameters, where: str = "") -> None:
    """Refuse a network that a bitstream was not built for, or that could overflow in it.

    Raises DeviceError naming both structures, AccumulatorOverflowError naming the layer.
    """
    ops, layers = network.layers, parameters.layers
    fits = len(ops) == len(layers) and all(
        (op.inputs, op.outputs, op.input_bits, op.output_bits, op.weight_bits)
        == (p.inputs, p.outputs, p.input_bits, p.output_bits, p.weight_bits)
        for op, p in zip(ops, layers, strict=True)
    )
    if not fits:
        raise DeviceError(
            f"this bitstream was not built for this network: the board{where} runs"
            f" {_describe(layers)}, the network is {_describe(ops)}"
            " (build a bitstream for it: spikeloom build NET --board ...)"
        )
    for op, p in zip(ops, layers, strict=True):
        low, high = op.potential_bounds()
        limit = 1 << (p.accumulator_bits - 1)
        if int(low.min()) < -limit or int(high.max()) >= limit:
            raise AccumulatorOverflowError(
                f"layer {op.name!r}: v0 can reach {low.min()}..{high.max()}, the board's"
                f" accumulator of {p.accumulator_bits} bits holds {-limit}..{limit - 1}:"
                " build a bitstream for this network"
            )
        if op.threshold is not None and int(op.threshold.max()) >= 1 << p.threshold_bits:
            raise DeviceError(
                f"layer {op.name!r}: threshold {op.threshold.max()} exceeds the"
                f" {p.threshold_bits} bits of the board: build a bitstream for this network"
            )
