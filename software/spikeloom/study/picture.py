"""One sample's way through a spiking network, drawn: input, spikes over T, potentials, decision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spikeloom.errors import ToolError

if TYPE_CHECKING:
    from spikeloom.network import Network

INK = "#1d2433"
SPIKE = "#e4572e"
QUIET = "#eef0f4"
COOL = "#2e6fb7"


def planes(words: np.ndarray, bits: int) -> np.ndarray:
    """Unpack words (n,) into spike planes (bits, n), first step = most significant bit."""
    shifts = np.arange(bits - 1, -1, -1)
    return (np.asarray(words, dtype=np.int64)[None, :] >> shifts[:, None]) & 1


def membrane(layer, words: np.ndarray, neurons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Membrane potential of some neurons, step by step, in the serial form (design 4.1).

    Returns the potentials while the T_in input steps accumulate (Horner: m = 2 m + w . spikes; the
    bias joins after the last), (T_in + 1, n), and while the T steps fire, (T + 1, n).
    """
    weight = layer.weight.astype(np.int64)[neurons]
    m = np.zeros(len(neurons), dtype=np.int64)
    rise = [m]
    for plane in planes(words, layer.input_bits):
        m = 2 * m + weight @ plane
        rise.append(m)
    v = m + layer.bias[neurons]
    fall = [v]
    for t in range(layer.output_bits):
        top = layer.threshold[neurons] << (layer.output_bits - 1 - t)
        v = v - np.where(v >= top, top, 0)
        fall.append(v)
    return np.array(rise), np.array(fall)


def _grid_shape(n: int) -> tuple[int, int]:
    """Rows and columns of the most square full grid of n cells; a last row may be partly empty."""
    for rows in range(int(np.sqrt(n)), 0, -1):
        if n % rows == 0 and n // rows <= 4 * rows:
            return rows, n // rows
    columns = int(np.ceil(np.sqrt(n)))
    return -(-n // columns), columns


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

    words = network.encode(image[None])
    trace = network.trace(image[None])
    layers = network.layers
    spikes = [
        (f"input: {words.shape[1]} words, T = {network.input_bits}", words[0], network.input_bits)
    ]
    for layer, record in zip(layers, trace, strict=True):
        if record.words is not None:
            title = f"layer {record.name}: {layer.weight.shape[0]} neurons, T = {layer.output_bits}"
            spikes.append((title, record.words[0], layer.output_bits))

    two = ListedColormap([QUIET, SPIKE])
    figure = plt.figure(figsize=(13, 3.0 + 1.9 * len(spikes)), facecolor="white")
    outer = figure.add_gridspec(
        len(spikes) + 1,
        1,
        height_ratios=[1.0] * len(spikes) + [1.75],
        hspace=0.5,
        left=0.06,
        right=0.98,
        top=0.90,
        bottom=0.08,
    )
    figure.suptitle(
        "One sample through a SpikePack network: spikes step by step, first step = largest weight",
        fontsize=14,
        color=INK,
        x=0.06,
        ha="left",
    )
    for row, (title, value, bits) in enumerate(spikes):
        inner = outer[row].subgridspec(1, bits + 1, wspace=0.12)
        two_d = len(network.input_shape) >= 2
        shape = network.input_shape[-2:] if row == 0 and two_d else _grid_shape(len(value))
        padded = np.zeros(int(np.prod(shape)), dtype=np.int64)
        padded[: len(value)] = value
        axis = figure.add_subplot(inner[0])
        axis.imshow(padded.reshape(shape), cmap="Greys", vmin=0, vmax=2**bits - 1)
        axis.set_title(title, fontsize=9.5, color=INK, loc="left")
        axis.set_ylabel("packed word", fontsize=8.5, color=INK)
        axis.set_xticks([])
        axis.set_yticks([])
        for t, plane in enumerate(planes(padded, bits)):
            axis = figure.add_subplot(inner[t + 1])
            axis.imshow(plane.reshape(shape), cmap=two, vmin=0, vmax=1)
            axis.set_xlabel(
                f"t={t + 1}  ×{2 ** (bits - 1 - t)}\n{int(plane.sum())} spikes",
                fontsize=8.5,
                color=INK,
            )
            axis.set_xticks([])
            axis.set_yticks([])

    bottom = outer[len(spikes)].subgridspec(1, 2, wspace=0.16, width_ratios=[1.6, 1])
    _draw_membrane(figure.add_subplot(bottom[0]), layers[0], words[0], trace[0].words)
    _draw_decision(figure.add_subplot(bottom[1]), trace[-1].potentials[0], label)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _draw_membrane(axis, layer, words: np.ndarray, fired: np.ndarray | None) -> None:
    """Potentials of the most active neurons of the first layer, in units of their threshold."""
    if fired is None:
        axis.axis("off")
        return
    neurons = np.argsort(-fired[0].astype(np.int64), kind="stable")[:12:3]
    rise, fall = membrane(layer, words, neurons)
    theta = layer.threshold[neurons].astype(float)
    t_in, t_out = layer.input_bits, layer.output_bits
    colours = [COOL, SPIKE, "#3a9d5d", "#8a4fbf"]
    for k, neuron in enumerate(neurons):
        steps = np.concatenate([np.arange(t_in + 1), t_in + 1 + np.arange(t_out + 1)])
        values = np.concatenate([rise[:, k], fall[:, k]]) / theta[k]
        axis.plot(
            steps,
            values,
            marker="o",
            ms=3.5,
            lw=1.6,
            color=colours[k],
            label=f"neuron {neuron}: word {int(fired[0, neuron])}",
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
