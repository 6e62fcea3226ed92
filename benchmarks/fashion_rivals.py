"""The spiking rivals of ``fashion.py``, as their own converters make them: spikingjelly and sinabs.

Both get the trained network with its batch norms folded, the same calibration pictures, and a
constant real-valued input at each of T steps; the logits are summed over the steps. Adds are
counted, not timed: each spike costs one addition a synapse it reaches. An average pool passes
spikes on one by one, a max pool those of the neuron that has most. What the first layer does with
real-valued pictures is no addition of a weight, and stands apart.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fashion_baseline import folded
from numpy.typing import NDArray
from spikeloom.network import INPUT, Network
from spikeloom.ops import AvgPool2d, Conv2d, Dense, Op, Readout
from torch import Tensor, nn
from torch.nn import functional

_BATCH = 250


@dataclass(frozen=True)
class Run:
    """Decisions (n,) after each of some T, and what they cost a picture.

    adds: of every layer but the first. first: additions (SpikePack: set bits of 8-bit pixels) or
    multiply-adds (rivals: pixels above 0, again at every step) of the first layer.
    """

    decisions: dict[int, NDArray[np.int64]]
    adds: dict[int, float]
    first: dict[int, float]


def reach(synapses: nn.Module | Op, shape: Sequence[int]) -> Tensor:
    """Synapses that a spike at each place of an input reaches: (1, height, width), or ().

    shape: of one input. Borders reach fewer.
    """
    if isinstance(synapses, (nn.Linear, Dense, Readout)):
        return torch.tensor(float(len(synapses.weight)))
    # the convolution itself says where its kernels lie: of ones, and its gradient by the input
    outputs, *kernel = synapses.weight.shape[:1] + synapses.weight.shape[2:]  # type: ignore[union-attr]
    with torch.enable_grad():
        place = torch.ones(1, 1, *shape[-2:], requires_grad=True)
        reached = functional.conv2d(
            place, torch.ones(1, 1, *kernel), None, synapses.stride, synapses.padding  # type: ignore[arg-type]
        )  # fmt: skip
        (count,) = torch.autograd.grad(reached.sum(), place)
    return outputs * count[0]


def spikepack(network: Network, images: NDArray[np.uint8]) -> tuple[float, float]:
    """Adds a picture of an integer network in serial form: all layers but the first, and the first.

    One for each set bit of a word and synapse that it reaches; one for each word that is not 0 and
    enters an average pool.
    """
    total, first = 0.0, 0.0
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        words = {INPUT: network.encode(part).reshape(-1, *network.input_shape)}
        words |= {t.name: t.words for t in network.trace(part) if t.words is not None}
        for op in network.ops:
            source = next(iter(network.layer_sources(op)))
            if isinstance(op, AvgPool2d):
                total += np.count_nonzero(words[source])
            if not isinstance(op, (Dense, Readout, Conv2d)):
                continue
            spikes = torch.from_numpy(np.bitwise_count(words[source]).astype(np.float32))
            adds = float((spikes.sum(0) * reach(op, spikes.shape[1:])).double().sum())
            if source == INPUT:
                first += adds
            else:
                total += adds
    return total / len(images), first / len(images)


class _Counter:
    """Adds of a network whose neurons fire: what leaves each, through a pool, into synapses."""

    def __init__(self) -> None:
        self.adds = 0.0

    def watch(self, neuron: nn.Module, pool: nn.Module | None, synapses: nn.Module) -> None:
        """From now on, count the spikes of a neuron into the synapses behind it."""

        def note(_module: nn.Module, _inputs: Any, spikes: Tensor) -> None:
            if isinstance(pool, nn.AvgPool2d):
                spikes = pool(spikes) * pool.kernel_size**2  # type: ignore[operator]
            elif pool is not None:
                spikes = pool(spikes)
            self.adds += float((spikes.sum(0) * reach(synapses, spikes.shape[1:])).sum())

        neuron.register_forward_hook(note)


def _behind(layers: Sequence[nn.Module]) -> Iterator[tuple[nn.Module | None, nn.Module]]:
    """Yield for each ReLU the pool (if any) and the weights behind it."""
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.ReLU):
            rest = layers[i + 1 :]
            end = next(k for k, m in enumerate(rest) if isinstance(m, (nn.Linear, nn.Conv2d)))
            pools = [m for m in rest[:end] if isinstance(m, (nn.AvgPool2d, nn.MaxPool2d))]
            yield (pools[0] if pools else None), rest[end]


def _sinabs(layers: list[nn.Module], _pictures: Tensor) -> tuple[nn.Module, list, Callable]:
    from sinabs.activation import MembraneSubtract, MultiSpike  # type: ignore[import-not-found]
    from sinabs.from_torch import from_model  # type: ignore[import-not-found]
    from sinabs.utils import reset_states  # type: ignore[import-not-found]

    snn = from_model(
        nn.Sequential(*layers), spike_fn=MultiSpike, reset_fn=MembraneSubtract(),
        min_v_mem=-1.0, num_timesteps=1,
    ).spiking_model  # fmt: skip
    neurons = [m for m in snn.modules() if type(m).__name__ == "IAFSqueeze"]
    found = zip(neurons, _behind(layers), strict=True)
    return snn, [(n, *behind) for n, behind in found], lambda: reset_states(snn)


def _spikingjelly(layers: list[nn.Module], pictures: Tensor) -> tuple[nn.Module, list, Callable]:
    from spikingjelly.activation_based import ann2snn, functional  # type: ignore[import-not-found]

    recipe = ann2snn.RateCodingRecipe(
        [pictures], mode="99.9%", channel_wise=True, half_threshold=True
    )
    with contextlib.redirect_stderr(io.StringIO()):
        snn = ann2snn.FXConverter(recipe).convert(nn.Sequential(*layers)).eval()
    neurons = [m for m in snn.modules() if "IFNode" in type(m).__name__]
    found = zip(neurons, _behind(layers), strict=True)
    return snn, [(n, *behind) for n, behind in found], lambda: functional.reset_net(snn)


#: Name of a rival's package, its recipe in words, and what converts.
RIVALS: dict[str, tuple[str, Callable]] = {
    "spikingjelly": ("one threshold a channel at 99.9 %, half a threshold to start with",
                     _spikingjelly),
    "sinabs": ("from_model, MultiSpike, MembraneSubtract, min_v_mem = -1", _sinabs),
}  # fmt: skip


def missing() -> list[str]:
    """Names of the rivals that are not installed."""
    return [name for name in RIVALS if importlib.util.find_spec(name) is None]


@torch.no_grad()
def rival(
    name: str,
    model: nn.Module,
    calibration: NDArray[np.uint8],
    images: NDArray[np.uint8],
    steps: Sequence[int],
) -> Run:
    """Convert a trained network with a rival's converter, and run it once, to the longest T.

    With a constant input, the first T steps of a long run are a run of T steps.
    """
    layers = folded(model)
    pictures = torch.from_numpy(calibration).to(torch.float32) / 255
    snn, watched, reset = RIVALS[name][1](layers, pictures)
    counter = _Counter()
    for neuron, pool, synapses in watched:
        counter.watch(neuron, pool, synapses)
    synapses = next(m for m in layers if isinstance(m, (nn.Linear, nn.Conv2d)))
    first = reach(synapses, images.shape[1:])
    decisions: dict[int, list[NDArray]] = {t: [] for t in steps}
    adds, each = dict.fromkeys(steps, 0.0), 0.0
    for start in range(0, len(images), _BATCH):
        x = torch.from_numpy(images[start : start + _BATCH]).to(torch.float32) / 255
        each += float(((x > 0).sum(0) * first).sum())
        reset()
        counter.adds, logits = 0.0, torch.zeros(())
        for t in range(1, max(steps) + 1):
            logits = logits + snn(x)
            if t in steps:
                decisions[t].append(logits.argmax(1).numpy())
                adds[t] += counter.adds
    n = len(images)
    return Run(
        {t: np.concatenate(d) for t, d in decisions.items()},
        {t: a / n for t, a in adds.items()},
        {t: t * each / n for t in steps},
    )
