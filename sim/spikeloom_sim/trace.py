"""A network in gates beside the golden model: every potential and every word of every layer."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from spikeloom.golden import Trace, trace_words
from spikeloom.hardware.memory_image import Column, memory_image
from spikeloom.hardware.parameters import NetworkParameters
from spikeloom.network import Network
from spikeloom.study.trace_table import BufferRecord, TraceRecord

from spikeloom_sim.harness import CoreHarness, HarnessResult, Stalls

__all__ = ["hardware_traces", "run_trace"]

#: Values (potentials and words) of a batch: what is in memory at once, for each job.
BATCH_VALUES = 8_000_000


def hardware_traces(network: Network, result: HarnessResult) -> list[Trace]:
    """Turn what the harness saw into traces; the logits that left come as one more of the last."""
    traces = []
    for op, v0, given in zip(network.layers, result.potentials, result.outputs, strict=True):
        edge = network.edges[op.name]
        potentials, words = v0, given
        if edge.signed and given is not None:  # a max pool of potentials
            potentials, words = given, None
        shape = (len(result.logits), *edge.shape)
        traces.append(
            Trace(
                op.name,
                None if potentials is None else potentials.reshape(shape),
                None if words is None else words.astype(np.uint8).reshape(shape),
            )
        )
    traces.append(Trace(network.layers[-1].name, result.logits, None))
    return traces


def run_trace(
    network: Network,
    parameters: NetworkParameters,
    words: np.ndarray,
    *,
    harness: CoreHarness | None = None,
    image: Sequence[tuple[Column, np.ndarray]] | None = None,
    stalls: Stalls | None = None,
    jobs: int = 1,
    batch: int = 0,
    progress: Callable[[int], None] | None = None,
) -> TraceRecord:
    """Run samples through the golden model and through the gates, and compare everything.

    words: uint8 (n, inputs), as ``network.encode`` gives them. harness: the core, if it is built.
    image: other contents of the memories than the network's. stalls: pauses; each batch gets a seed
    of its own. jobs: batches at once. batch: samples of one; as memory likes without.
    progress: called with the number of samples done.
    Errors as of :meth:`CoreHarness.run`.
    """
    core = harness or CoreHarness(parameters, name="trace")
    memories = memory_image(network, parameters) if image is None else image
    record = TraceRecord(network, buffers=_buffers(network, parameters, core))
    size = batch or max(1, BATCH_VALUES // _values(network))
    starts = range(0, len(words), size)
    between, spent = [0, 0], [0]  # cycles between results and their number; of all samples inside
    held = threading.Lock()

    def work(number: int) -> None:
        start = starts[number]
        some = words[start : start + size]
        pauses = stalls and dataclasses.replace(stalls, seed=stalls.seed + number)
        result = core.run(memories, some, stalls=pauses)
        golden = trace_words(network, some)
        found = hardware_traces(network, result)
        with held:
            record.see(some, golden, found, start)
            _add_times(record, result)
            between[0] += int(result.ends[-1] - result.ends[0])
            between[1] += len(some) - 1
            spent[0] += int((result.ends - result.starts + 1).sum())
            if progress is not None:
                progress(record.samples)

    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(work, range(len(starts))):
            pass
    if record.samples:
        record.latency = spent[0] / record.samples
        record.interval = between[0] / between[1] if between[1] else record.latency
    return record


def _values(network: Network) -> int:
    """Values of one sample that are compared, at most."""
    return network.inputs + 2 * sum(network.edges[op.name].size for op in network.layers)


def _buffers(
    network: Network, parameters: NetworkParameters, core: CoreHarness
) -> dict[str, BufferRecord]:
    names = ["input", *(op.name for op in network.layers)]
    records = {}
    for (layer, slot), depth in core.depths.items():
        name, source = f"fifo_{layer}_{slot}", names[1 + parameters.sources[layer][slot]]
        joins = len(parameters.sources[layer]) > 1
        place = f"{names[1 + layer]}{(' (skip)' if slot else ' (main)') if joins else ''}"
        records[name] = BufferRecord(name, source, place, depth)
    return records


def _add_times(record: TraceRecord, result: HarnessResult) -> None:
    record.cycles += result.cycles
    for name, use in result.buffers.items():
        record.buffers[name] = record.buffers[name].seen(use.most, use.stalled)
    for layer, flow in zip(record.layers[1:], result.flows, strict=True):
        layer.busy = (layer.busy or 0) + flow.busy
        layer.held = (layer.held or 0) + flow.held
        layer.starved = (layer.starved or 0) + flow.starved
