"""What a layer takes of a device: memories and multipliers exactly, LUTs and registers by a model.

Memories are listed as the gateware declares them. LUTs and registers are sums of terms, each a
count of what the structure has (bits of accumulators, of products, ...) times a weight from
``plan_calibration.json``, fitted to designs that were placed and routed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    FireParameters,
    LayerParameters,
    NetworkParameters,
    PadParameters,
    PoolParameters,
    Port,
    SynapseParameters,
    Window,
)
from spikeloom.hardware.registers import BY_NAME
from spikeloom_hdl.layers.fifo import SMALL
from spikeloom_hdl.layers.window_ring import Ring
from spikeloom_hdl.link.frames import BANK
from spikeloom_hdl.link.registers import LOGIC_ROM
from spikeloom_hdl.link.results import default_results
from spikeloom_hdl.link.samples import default_slots
from spikeloom_hdl.memory import row_bits
from spikeloom_hdl.neuron.multiply import MULT18_BITS

from spikeloom_boards.calibration import weights
from spikeloom_boards.cycle_model import (
    group_lanes,
    groups,
    queue_depth,
    skips_in_cells,
    tiles,
)
from spikeloom_boards.memory_map import Ram, map_ram

if TYPE_CHECKING:
    from spikeloom_boards.board import Board

__all__ = ["Cost", "layer_cost", "link_cost", "link_terms", "memories", "network_cost", "terms"]


#: frames that the link keeps
FRAMES = 2


@dataclass(frozen=True)
class Cost:
    """What a layer, or a design, takes from a device."""

    luts: int = 0
    flip_flops: int = 0
    block_rams: int = 0
    multipliers: int = 0
    spram: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def memories(layer: LayerParameters) -> Iterator[Ram]:
    """List the memories of a layer in gates."""
    fold = layer.folding
    if isinstance(layer, FireParameters):
        yield Ram(layer.drain_rows, layer.threshold_bits, fold.lanes)
        return
    if isinstance(layer, PadParameters):
        yield Ram(layer.drain_rows, layer.bits, fold.lanes)
        return
    if isinstance(layer, AddParameters):
        yield Ram(layer.drain_rows, layer.accumulator_bits, fold.lanes)
        yield Ram(layer.drain_rows, layer.threshold_bits, fold.lanes)
        yield Ram(layer.drain_rows, layer.weight_bits, 2 * fold.lanes)
        return
    if isinstance(layer, PoolParameters):
        yield from _pool_memories(layer)
        return
    width = layer.lanes_per_column * layer.weight_bits
    columns = fold.copies * fold.slices * layer.columns_per_slice
    yield Ram(
        layer.weight_depth,
        width,
        columns,
        spram=fold.weight_memory == "spram",
        distributed=fold.weight_memory == "distributed",
        dual=fold.paired,
    )
    yield Ram(layer.drain_rows, layer.accumulator_bits, fold.fire_lanes)
    if layer.fires:
        yield Ram(layer.drain_rows, layer.threshold_bits, fold.fire_lanes)
    if isinstance(layer, DenseParameters):
        # two banks; an entry is a transfer's number, and a mark and a word for each input
        index = row_bits(layer.beats)
        entry = index + fold.scan // fold.slices * (1 + layer.input_bits)
        yield Ram(2 << index, entry, fold.slices)
    elif isinstance(layer, ConvParameters):
        yield from _conv_memories(layer)
    else:
        yield from _depthwise_memories(layer)


def _conv_memories(layer: ConvParameters) -> Iterator[Ram]:
    """Weights of a skip connection; line RAMs, counts, flags of a row; queues of sums."""
    w, fold, ring = layer.window, layer.folding, Ring(layer)
    if layer.skip_weight_bits:
        yield Ram(layer.drain_rows, layer.skip_weight_bits, fold.fire_lanes)
    yield Ram(ring.entries, ring.entry_bits, fold.units * fold.slices)
    if ring.channel_bits:
        yield Ram(ring.pixels, ring.channel_bits, fold.units * fold.slices)
    yield Ram(w.width, fold.slices, fold.units * ring.rows)
    yield Ram(queue_depth(layer), fold.fire_lanes * layer.accumulator_bits, fold.units)


def _depthwise_memories(layer: DepthwiseParameters) -> Iterator[Ram]:
    """The ring of rows."""
    yield _ring_of(layer.window, layer.ports_in[0])


def _ring_of(window: Window, port: Port) -> Ram:
    """Rows of a stream, each padded to a power of two transfers."""
    rows = window.kernel_height + window.stride_y
    return Ram(rows << row_bits(window.width * port.transfers_per_pixel), port.lanes * port.bits)


def _pool_memories(layer: PoolParameters) -> Iterator[Ram]:
    """A row of results in the making, or the ring of rows where windows overlap."""
    w, port = layer.window, layer.ports_in[0]
    if not tiles(layer):
        yield _ring_of(w, port)
        return
    bits = layer.bits
    if layer.rule == "average":
        bits = (w.taps * ((1 << bits) - 1)).bit_length()
    group = (port.transfers_per_pixel - 1).bit_length()
    yield Ram(1 << (group + row_bits(w.out_width)), port.lanes * bits)


def multipliers(layer: LayerParameters) -> int:
    """Multiplier cells of a layer."""
    fold = layer.folding
    if isinstance(layer, AddParameters):
        return 2 * fold.lanes if fold.multiplier == "mult18x18d" else 0
    if not isinstance(layer, SynapseParameters):
        return 0
    cells = 0
    if fold.form == "packed" and fold.multiplier != "lut":
        lanes = group_lanes(layer)
        if pairs(layer):  # two lanes of a group share a cell
            lanes = [-(-n // 2) for n in lanes]
        cells = sum(lanes) * fold.slices * fold.units
    if isinstance(layer, ConvParameters) and layer.skip_weight_bits and skips_in_cells(layer):
        cells += fold.fire_lanes
    return cells


def pairs(layer: SynapseParameters) -> bool:
    """Whether the weights of two lanes fit a multiplier cell side by side."""
    return (
        layer.folding.form == "packed"
        and layer.folding.multiplier == "mult18x18d"
        and not isinstance(layer, DepthwiseParameters)
        and 2 * layer.weight_bits + layer.input_bits <= MULT18_BITS
    )


def terms(layer: LayerParameters, family: str) -> dict[str, float]:
    """Count what makes LUTs and registers in a layer; the names are those of the weights."""
    counted: dict[str, float] = {"layer": 1, "ram": 0, "ram_mux": 0}
    for ram in memories(layer):
        mapped = map_ram(ram, family)
        counted["ram"] += ram.count * mapped.lut_rams * 4
        ports = 2 if ram.dual else 1
        select = (mapped.deep - 1) * ram.bits * ports + mapped.register_bits * ports
        counted["ram_mux"] += ram.count * select
    if isinstance(layer, SynapseParameters):
        return counted | _synapse_terms(layer)
    fold = layer.folding
    counted["plain"] = fold.lanes * layer.port_out.bits
    if isinstance(layer, PoolParameters):
        counted["walk"] = not tiles(layer)
        if layer.rule == "average":
            power = layer.threshold & (layer.threshold - 1) == 0
            steps = 1 if power else layer.output_bits
            counted["fire"] = fold.lanes * _fire(
                steps, layer.sum_bits, layer.threshold.bit_length()
            )
        return counted
    if isinstance(layer, PadParameters):
        counted["bias"] = fold.lanes * layer.bits
        return counted
    wide = layer.accumulator_bits
    counted["fire"] = fold.lanes * _fire(layer.output_bits, wide, layer.threshold_bits)
    counted["bias"] = fold.lanes * layer.threshold_bits
    if isinstance(layer, AddParameters):
        counted["bias"] += fold.lanes * (wide + 2 * layer.weight_bits)
        if not multipliers(layer):
            bits = layer.input_bits + layer.other_bits
            counted["product"] = fold.lanes * layer.weight_bits * bits
    return counted


def _synapse_terms(layer: SynapseParameters) -> dict[str, float]:
    """Terms of a layer with weights."""
    fold = layer.folding
    a, t, w = layer.accumulator_bits, layer.input_bits, layer.weight_bits
    units, slices = fold.units, fold.slices
    lanes = units * fold.lanes
    macs = lanes * slices
    counted: dict[str, float] = {
        "unit": units,
        "slice": units * slices,
        "column": fold.copies * slices * layer.columns_per_slice,
        "reader": (units - fold.copies) * slices * layer.columns_per_slice,
        "group": units * groups(layer) * slices,
        "scan": units * fold.scan * (2 * t + 4),
        "drain": lanes * a,
        "bias": fold.fire_lanes * a,
    }
    if pairs(layer):
        counted["pair"] = macs * (w + t)
    if fold.form == "serial":
        counted["shift"] = macs * w * t
    elif fold.multiplier == "lut":
        counted["product"] = macs * w * t
    if fold.multiplier != "sb_mac16" or fold.form == "serial":
        counted["accumulate"] = lanes * a
        counted["tree"] = lanes * (slices - 1) * (w + t)
    if layer.fires:
        counted["fire"] = fold.fire_lanes * _fire(layer.output_bits, a, layer.threshold_bits)
        counted["bias"] += fold.fire_lanes * layer.threshold_bits
    if isinstance(layer, DepthwiseParameters):
        counted["walk"] = 1
    if isinstance(layer, ConvParameters):
        counted["conv"] = units
        counted["conv_slice"] = units * slices
        counted["taps"] = units * slices * layer.window.taps
        counted["collect"] = (units - 1) * fold.fire_lanes * a
        if layer.skip_weight_bits and not skips_in_cells(layer):
            extra = fold.fire_lanes * layer.skip_bits * layer.skip_weight_bits
            counted["product"] = counted.get("product", 0) + extra
        if layer.skip_bits:
            counted["bias"] += 2 * fold.fire_lanes * a
    return counted


def _fire(steps: int, bits: int, threshold_bits: int) -> int:
    """Bits of the compare-and-subtract stages of one lane."""
    width = max(bits, threshold_bits + steps - 1) + 1
    return sum(width - shift for shift in range(steps))


def link_terms(network: NetworkParameters, family: str) -> dict[str, float]:
    """Count what is not in a layer: the link, counters, forks and buffers, converters of lanes."""
    counted: dict[str, float] = {"link": 1, "counter": len(network.counter_names)}
    counted["ram"] = counted["plain"] = 0
    for ram in link_memories(network):
        counted["ram"] += ram.count * map_ram(ram, family).lut_rams * 4
    counted["buffer"] = len(network.depths)
    for layer, feeds in zip(network.layers, network.sources, strict=True):
        for source, port in zip(feeds, layer.ports_in, strict=True):
            before = network.port_of(source)
            if before.lanes != port.lanes:
                counted["plain"] += max(before.lanes, port.lanes) * port.bits / 2
    return counted


def _weighed(counted: Mapping[str, float], resource: str, family: str) -> int:
    worth = weights(family)[resource]
    return round(sum(worth[name] * count for name, count in counted.items()))


def layer_cost(layer: LayerParameters, family: str) -> Cost:
    """Predict what a layer takes on an ``ecp5`` or an ``ice40``."""
    counted = terms(layer, family)
    blocks = spram = 0
    for ram in memories(layer):
        mapped = map_ram(ram, family)
        blocks += ram.count * mapped.blocks
        spram += ram.count * mapped.spram
    return Cost(
        luts=_weighed(counted, "luts", family),
        flip_flops=_weighed(counted, "flip_flops", family),
        block_rams=blocks,
        multipliers=multipliers(layer),
        spram=spram,
    )


def sample_ram(port: Port) -> Ram:
    """Return the buffer of samples before a network's input."""
    return Ram(default_slots(port) << row_bits(port.transfers), port.lanes * port.bits)


def link_memories(network: NetworkParameters) -> Iterator[Ram]:
    """List the memories outside of the layers: of the link, and buffers behind forks."""
    port, last = network.input_port, network.layers[-1]
    assert isinstance(last, DenseParameters)
    yield sample_ram(port)
    results = row_bits(last.drain_rows * last.folding.fire_lanes)
    yield Ram(default_results(last) << results, last.accumulator_bits)
    yield Ram(FRAMES * BANK, 8)
    yield Ram(BANK, 8)  # of the encoder
    constants = BY_NAME["structure"].address + len(network.to_words())
    if constants > LOGIC_ROM:
        yield Ram(constants, 32, rom=True)
    depths = network.depths
    for buffer in network.buffers:
        source = network.port_of(buffer.source)
        bits = source.lanes * source.bits + 2
        depth = depths[buffer.layer, buffer.slot]
        if depth > SMALL:
            yield Ram(depth, bits)
        elif depth > 1:
            yield Ram(depth, bits, distributed=True)


def link_cost(network: NetworkParameters, board: Board) -> Cost:
    """Predict what is not a layer: link, buffers, registers, reset, forks."""
    family, counted = board.family, link_terms(network, board.family)
    return Cost(
        luts=_weighed(counted, "luts", family),
        flip_flops=_weighed(counted, "flip_flops", family),
        block_rams=sum(map_ram(ram, family).blocks for ram in link_memories(network)),
    )


def network_cost(network: NetworkParameters, board: Board) -> Cost:
    """Predict what a network takes on a board."""
    total = link_cost(network, board)
    for layer in network.layers:
        total = total + layer_cost(layer, board.family)
    return total
