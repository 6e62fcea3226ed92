"""One sample's way through a spiking network, drawn: input, spikes over T, potentials, decision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeloom.errors import ToolError
from spikeloom.ops import Conv2d, Dense
from spikeloom.study.drawing import INK

if TYPE_CHECKING:
    from spikeloom.golden import Trace
    from spikeloom.network import Network

SPIKE = "#e4572e"
QUIET = "#eef0f4"
COOL = "#2e6fb7"


def planes(words: np.ndarray, bits: int) -> np.ndarray:
    """Unpack words (n,) into spike planes (bits, n), first step = most significant bit."""
    shifts = np.arange(bits - 1, -1, -1)
    return (np.asarray(words, dtype=np.int64)[None, :] >> shifts[:, None]) & 1


def membrane(
    layer: Dense | Conv2d, words: np.ndarray, neurons: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Membrane potential of some neurons, step by step, in the serial form (design 4.1).

    layer: one that fires, without a skip. words: what enters, (inputs,), or (channels, height,
    width) for a convolution. neurons: their numbers, C order of what leaves.
    Returns the potentials while the T_in input steps accumulate (Horner: m = 2 m + w . spikes; the
    bias joins after the last), (T_in + 1, n), and while the T steps fire, (T + 1, n).
    """
    assert layer.threshold is not None
    channels, seen, weight = _synapses(layer, np.asarray(words), np.asarray(neurons))
    m = np.zeros(len(neurons), dtype=np.int64)
    rise = [m]
    for shift in range(layer.input_bits - 1, -1, -1):
        m = 2 * m + (weight * (seen >> shift & 1)).sum(1)
        rise.append(m)
    v = m + layer.bias[channels]
    fall = [v]
    for t in range(layer.output_bits):
        top = layer.threshold[channels] << (layer.output_bits - 1 - t)
        v = v - np.where(v >= top, top, 0)
        fall.append(v)
    return np.array(rise), np.array(fall)


def _synapses(
    layer: Dense | Conv2d, words: np.ndarray, neurons: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For some neurons: their channels (n,), the words they see and the weights, (n, synapses)."""
    weight = layer.weight.astype(np.int64)
    if isinstance(layer, Dense):
        seen = np.broadcast_to(words.astype(np.int64), (len(neurons), words.size))
        return neurons, seen, weight[neurons]
    (kh, kw), (pad_y, pad_x) = layer.kernel, layer.padding
    padded = np.pad(words.astype(np.int64), ((0, 0), (pad_y, pad_y), (pad_x, pad_x)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(1, 2))  # type: ignore[call-overload]
    windows = windows[:, :: layer.stride[0], :: layer.stride[1]]
    channels, y, x = np.unravel_index(neurons, (layer.outputs, *windows.shape[1:3]))
    seen = windows[:, y, x].swapaxes(0, 1)  # (n, channels in, kernel height, kernel width)
    if layer.depthwise:
        seen = seen[np.arange(len(neurons)), channels][:, None]
    rows = (len(neurons), -1)
    return channels, seen.reshape(rows), weight[channels].reshape(rows)


def _grid_shape(n: int) -> tuple[int, int]:
    """Rows and columns of the most square full grid of n cells; a last row may be partly empty."""
    for rows in range(int(np.sqrt(n)), 0, -1):
        if n % rows == 0 and n // rows <= 4 * rows:
            return rows, n // rows
    columns = int(np.ceil(np.sqrt(n)))
    return -(-n // columns), columns


def mosaic(value: np.ndarray) -> np.ma.MaskedArray:
    """Lay words out as one picture: (features,) as a grid, the channels of an image side by side.

    (channels, height, width) of one row or one column become a line a channel.
    """
    if value.ndim == 1:
        shape = _grid_shape(len(value))
        padded = np.zeros(shape[0] * shape[1], dtype=np.int64)
        padded[: len(value)] = value
        return np.ma.masked_array(padded.reshape(shape))
    if value.ndim != 3:
        return np.ma.masked_array(value.reshape(-1, value.shape[-1]).astype(np.int64))
    channels, height, width = value.shape
    if channels > 1 and min(height, width) == 1:
        return np.ma.masked_array(value.reshape(channels, -1).astype(np.int64))
    rows, columns = _grid_shape(channels)
    shape = (rows * (height + 1) - 1, columns * (width + 1) - 1)
    sheet = np.ma.masked_array(np.zeros(shape, dtype=np.int64), mask=True)
    for channel, plane in enumerate(value):
        y, x = channel // columns * (height + 1), channel % columns * (width + 1)
        sheet[y : y + height, x : x + width] = plane
    return sheet


def draw(network: Network, image: np.ndarray, path: Path, *, label: int | None = None) -> Path:
    """Draw one sample of the network's input shape and save it as a PNG.

    image: uint8, the network's ``input_shape``. Raises ToolError without matplotlib.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        from matplotlib.colors import ListedColormap
    except ImportError as error:
        raise ToolError("matplotlib is missing: pip install 'spikeloom[plots]'") from error

    words = network.encode(image[None])[0].reshape(network.input_shape)
    trace = network.trace(image[None])
    logits = trace[-1].potentials
    assert logits is not None
    bits = network.input_bits
    spikes = [(f"input: {words.size} words, T = {bits}", words, bits)]
    for record in trace:
        # pools and frames only show again what is above them
        if record.words is not None and record.potentials is not None:
            fired, bits = record.words[0], network.edges[record.name].bits
            size = f"{len(fired)} neurons"
            if fired.ndim == 3:
                size = f"{len(fired)} channels of {'x'.join(map(str, fired.shape[1:]))}"
            spikes.append((f"layer {record.name}: {size}, T = {bits}", fired, bits))

    two = ListedColormap([QUIET, SPIKE])
    height = 3.0 + 1.9 * len(spikes)
    figure = plt.figure(figsize=(13, height), facecolor="white")
    outer = figure.add_gridspec(
        len(spikes) + 1,
        1,
        height_ratios=[1.0] * len(spikes) + [1.75],
        hspace=0.5,
        left=0.06,
        right=0.98,
        top=1 - 0.68 / height,
        bottom=0.54 / height,
    )
    figure.suptitle(
        "One sample through a SpikePack network: spikes step by step, first step = largest weight",
        fontsize=14,
        color=INK,
        x=0.06,
        y=1 - 0.14 / height,
        ha="left",
    )
    for row, (title, value, bits) in enumerate(spikes):
        inner = outer[row].subgridspec(1, bits + 1, wspace=0.12)
        sheet = mosaic(value)
        axis = figure.add_subplot(inner[0])
        axis.imshow(sheet, cmap="Greys", vmin=0, vmax=2**bits - 1)
        axis.set_title(title, fontsize=9.5, color=INK, loc="left")
        axis.set_ylabel("packed word", fontsize=8.5, color=INK)
        axis.set_xticks([])
        axis.set_yticks([])
        for t in range(bits):
            axis = figure.add_subplot(inner[t + 1])
            plane = sheet >> (bits - 1 - t) & 1
            axis.imshow(plane, cmap=two, vmin=0, vmax=1)
            axis.set_xlabel(
                f"t={t + 1}  ×{2 ** (bits - 1 - t)}\n{int(plane.sum())} spikes",
                fontsize=8.5,
                color=INK,
            )
            axis.set_xticks([])
            axis.set_yticks([])

    bottom = outer[len(spikes)].subgridspec(1, 2, wspace=0.16, width_ratios=[1.6, 1])
    _draw_membrane(figure.add_subplot(bottom[0]), *_first_to_fire(network, words, trace))
    _draw_decision(figure.add_subplot(bottom[1]), logits[0], label)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _first_to_fire(
    network: Network, words: np.ndarray, trace: list[Trace]
) -> tuple[Dense | Conv2d | None, np.ndarray, np.ndarray]:
    """The first layer with weights that fires, with nothing added: (it, words in, words out)."""
    flows = {"input": words} | {r.name: r.words[0] for r in trace if r.words is not None}
    for op in network.layers:
        sources = network.layer_sources(op)
        if isinstance(op, (Dense, Conv2d)) and op.threshold is not None and len(sources) == 1:
            taken = flows[sources[0]]
            return op, taken.reshape(-1) if isinstance(op, Dense) else taken, flows[op.name]
    return None, words, words


def _draw_membrane(
    axis: Any, layer: Dense | Conv2d | None, words: np.ndarray, fired: np.ndarray
) -> None:
    """Potentials of the most active neurons of a layer, in units of their threshold."""
    if layer is None or layer.threshold is None:
        axis.axis("off")
        return
    neurons = np.argsort(-fired.reshape(-1).astype(np.int64), kind="stable")[:12:3]
    rise, fall = membrane(layer, words, neurons)
    places = np.transpose(np.unravel_index(neurons, fired.shape))
    channels = places[:, 0]
    theta = layer.threshold[channels].astype(float)
    t_in, t_out = layer.input_bits, layer.output_bits
    colours = [COOL, SPIKE, "#3a9d5d", "#8a4fbf"]
    for k, (neuron, place) in enumerate(zip(neurons, places, strict=True)):
        name = f"neuron {', '.join(map(str, place))}"
        steps = np.concatenate([np.arange(t_in + 1), t_in + 1 + np.arange(t_out + 1)])
        values = np.concatenate([rise[:, k], fall[:, k]]) / theta[k]
        axis.plot(
            steps,
            values,
            marker="o",
            ms=3.5,
            lw=1.6,
            color=colours[k],
            label=f"{name}: word {int(fired.flat[neuron])}",
        )
    for t in range(t_out):
        axis.plot(
            [t_in + 1 + t - 0.1, t_in + 2 + t - 0.1],
            [2 ** (t_out - 1 - t)] * 2,
            color=INK,
            lw=1.2,
            ls=(0, (3, 2)),
            label="threshold of the step" if t == 0 else None,
        )
    axis.axvspan(t_in + 0.5, t_in + t_out + 1.3, color="#f6f1e7", zorder=0)
    axis.axhline(0, color="#b9bfca", lw=0.8, zorder=0)
    axis.set_xticks([*range(1, t_in + 1), *range(t_in + 2, t_in + t_out + 2)])
    axis.set_xticklabels([*range(1, t_in + 1), *range(1, t_out + 1)])
    axis.set_xlabel(
        "accumulate: input steps      |      fire and reset by subtraction: output steps",
        fontsize=9,
        color=INK,
    )
    axis.set_ylabel("membrane potential / threshold", fontsize=9, color=INK)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _draw_decision(axis, logits: np.ndarray, label: int | None) -> None:
    """Potentials of the readout: the largest decides."""
    winner = int(np.argmax(logits))
    colours = [SPIKE if k == winner else "#c3cad6" for k in range(len(logits))]
    axis.barh(np.arange(len(logits)), logits, color=colours)
    axis.axvline(0, color="#b9bfca", lw=0.8)
    axis.set_yticks(np.arange(len(logits)))
    axis.invert_yaxis()
    truth = "" if label is None else f", label {label}"
    axis.set_title(f"readout potentials: class {winner}{truth}", fontsize=10, color=INK, loc="left")
    axis.set_xlabel("integer potential (does not fire)", fontsize=9, color=INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
