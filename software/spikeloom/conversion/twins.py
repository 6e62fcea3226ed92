"""A model and its spiking twin side by side: what each neuron is given, and what it stands for.

One view of both kinds of spiking networks: neurons by the activation of the original model that
they make words of, and functions that run a batch through either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from spikeloom.conversion.fold import fold
from spikeloom.conversion.general.capture import capture
from spikeloom.conversion.general.data import arguments_of, batches
from spikeloom.conversion.general.inputs import RangeWords
from spikeloom.conversion.general.network import GeneralSpikingNetwork
from spikeloom.conversion.general.tree import leaves, transform
from spikeloom.conversion.spiking import InputWords, SpikingNetwork, as_images
from spikeloom.conversion.trace import trace
from spikeloom.errors import InputError
from spikeloom.neuron import SpikePack
from spikeloom.signed import OffsetSpikePack, SignedSpikePack

__all__ = ["Neuron", "Twins", "twins"]

#: A batch through the original model: its output, rows (n, values), and activations by name.
Original = Callable[[tuple[Any, ...]], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True, eq=False)
class Neuron:
    """A layer of neurons. name: as in the report; value: name of the model's activation.

    module: what fires, SpikePack or the words of an input. alive: (channels,) bool, False where it
    is pruned; None where nothing is.
    """

    name: str
    value: str
    module: nn.Module
    alive: Tensor | None = None

    @property
    def bits(self) -> int:
        """T of its words."""
        module: Any = self.module
        return int(module.steps if isinstance(module, SpikePack) else module.bits)

    @property
    def axis(self) -> int:
        """Axis of the channels; 0 if there is none."""
        module = self.module
        if isinstance(module, SpikePack):
            return module.channel_dim
        return 0 if isinstance(module, RangeWords) and not module.low.ndim else 1

    def _spread(self, value: Tensor, like: Tensor) -> Tensor:
        """Shape one value a channel, or one at all, to broadcast against values."""
        shape = [1] * like.ndim
        if value.ndim:
            shape[self.axis] = -1
        return value.detach().to(like.device, like.dtype).view(shape)

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor, int, int]:
        """Real value of word 0 and of an LSB, to broadcast against ``like``; both end words."""
        module = self.module
        if isinstance(module, InputWords):
            return like.new_zeros(()), like.new_full((), 1 / module.top), 0, module.top
        if isinstance(module, RangeWords):
            low, scale = (self._spread(t, like) for t in (module.low, module.scale))
            return low, scale, 0, module.top
        assert isinstance(module, SpikePack)
        if isinstance(module, OffsetSpikePack):
            step = self._spread(module.threshold, like)
            return -step * self._spread(module.zero, like), step, 0, (1 << module.steps) - 1
        least = -module.half if isinstance(module, SignedSpikePack) else 0
        return like.new_zeros(()), self._spread(module.threshold, like), least, int(module.top)

    @property
    def thresholds(self) -> tuple[float, float]:
        """Least and greatest real value of an LSB, of channels that are not pruned."""
        like = torch.empty((), dtype=torch.float64)
        module = self.module
        if isinstance(module, SpikePack):
            step = module.threshold.detach().double()
            if self.alive is not None and step.ndim and bool(self.alive.any()):
                step = step[self.alive]
        elif isinstance(module, RangeWords):
            step = module.scale.double()
        else:
            step = self._scale(like)[1]
        return float(step.min()), float(step.max())

    def words(self, y: Tensor) -> Tensor:
        """Words of the values that it gives, int64; spikes are the T lowest bits."""
        zero, step, _, _ = self._scale(y)
        return ((y - zero) / step).round().to(torch.int64)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether activations (n, ...) have its channels."""
        theta = self.module.threshold if isinstance(self.module, SpikePack) else torch.empty(())
        return bool(shape) and (not theta.ndim or shape[self.axis] == len(theta))

    def values(self, a: Tensor) -> Tensor:
        """What it would make of activations: values of words; 0 in pruned channels."""
        y = self.module(a)
        return y if self.alive is None else torch.where(self._spread(self.alive, a) != 0, y, 0.0)

    def beyond(self, a: Tensor) -> Tensor:
        """Activations that it saturates on: they would round to words beyond its ends."""
        zero, step, least, top = self._scale(a)
        outside = (a < zero + step * (least - 0.5)) | (a >= zero + step * (top + 0.5))
        return outside if self.alive is None else outside & (self._spread(self.alive, a) != 0)

    def unrounded(self, v: Tensor) -> Tensor:
        """Activation that what it is given stands for: no words, no greatest value."""
        plain = isinstance(self.module, (SignedSpikePack, OffsetSpikePack, RangeWords, InputWords))
        return v if plain else v.clamp(min=0)

    def mean(self, x: Tensor) -> Tensor:
        """Mean of every channel, to broadcast against x (n, ...); float64."""
        if not self.axis:
            return x.double().mean()
        dims = [d for d in range(x.ndim) if d != self.axis % x.ndim]
        return x.double().mean(dims, keepdim=True)


@dataclass(frozen=True, eq=False)
class Twins:
    """A model beside its spiking twin. neurons: in order. batches: the samples, in parts.

    original: runs a part through the model. spiking: through the twin; rows (n, values).
    classes: whether the output is logits, (n, classes).
    """

    neurons: tuple[Neuron, ...]
    batches: tuple[tuple[Any, ...], ...]
    original: Original
    spiking: Callable[[tuple[Any, ...]], Tensor]
    classes: bool


def _picked(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def twins(
    model: nn.Module,
    snn: nn.Module,
    images: Any,
    labels: NDArray | Tensor | None = None,
    *,
    samples: int = 256,
    batch: int = 32,
) -> tuple[Twins, Tensor | None]:
    """Put a model beside the network that ``convert`` made of it, and give the labels picked.

    images: as for ``convert``; so many ``samples`` of all over them are taken, ``batch`` at a time.
    labels: (n,) classes, or None.

    Raises InputError for another kind of network, another model, or wrong samples.
    """
    if samples < 1 or batch < 1:
        raise ValueError(f"samples and batch must be 1 or more, not {samples} and {batch}")
    if isinstance(snn, SpikingNetwork):
        given: tuple[Any, ...] = (as_images(snn.shaped(torch.as_tensor(images))),)
    elif isinstance(snn, GeneralSpikingNetwork):
        given = arguments_of(model, images)
    else:
        raise InputError(
            f"expected what spikeloom.convert returns, not {type(snn).__name__}: convert the model"
            " first"
        )
    count = len(next(iter(leaves(given)))[1])
    if not count:
        raise InputError("there are no samples: give some hundred, (n, *sample shape), n > 0")
    truth = _labels(labels, count)
    pick = torch.from_numpy(_picked(count, samples))
    given = transform(given, lambda x: x[pick.to(x.device)])
    parts = tuple(batches(given, batch))
    if isinstance(snn, SpikingNetwork):
        neurons, original = _integer(model, snn)
    else:
        neurons, original = _general(model, snn, given)

    def spiking(part: tuple[Any, ...]) -> Tensor:
        return _rows(snn(*part))

    with torch.no_grad():
        shapes = [t.shape for _, t in leaves(snn(*transform(given, lambda x: x[:1])))]
    classes = len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][1] > 1
    if truth is not None and not classes:
        raise InputError(
            f"labels need an output of logits (n, classes), the model gives"
            f" {', '.join(str(('n', *s[1:])) for s in shapes)}: leave labels out"
        )
    return Twins(neurons, parts, original, spiking, classes), None if truth is None else truth[pick]


def _labels(labels: NDArray | Tensor | None, count: int) -> Tensor | None:
    if labels is None:
        return None
    truth = torch.as_tensor(labels)
    if truth.is_floating_point() or tuple(truth.shape) != (count,):
        raise InputError(
            f"labels are {truth.dtype} {tuple(truth.shape)}: give whole numbers, one for each of"
            f" {count} samples"
        )
    return truth.long().cpu()


def _rows(output: Any) -> Tensor:
    """Outputs as rows (n, values): floats of all that a model returns."""
    floats = [t for _, t in leaves(output) if t.is_floating_point() and t.ndim]
    parts = [t.reshape(len(t), -1) for t in floats]
    return torch.cat(parts, 1)


def _other(name: str) -> InputError:
    return InputError(
        f"the network was not converted from this model: {name} is another one, or missing"
    )


def _integer(model: nn.Module, snn: SpikingNetwork) -> tuple[tuple[Neuron, ...], Original]:
    """Neurons of an integer network, and the folded model that it was made of."""
    graph = fold(trace(model), snn.sample_shape)
    if graph.neurons:
        raise InputError(
            "the model fires already (SpikePack): there is no network of ReLUs to compare with"
        )
    neurons = [Neuron("input", "input", snn.encode)]
    for layer in snn.spiking_layers:
        module: Any = getattr(layer, "neuron", None)
        if module is not None:
            alive = cast(Any, getattr(layer, "alive", None))
            neurons.append(Neuron(layer.name, layer.name, module, alive))
    missing = {n.name: n.shape for n in graph.nodes}.items() ^ {
        layer.name: layer.shape for layer in snn.spiking_layers
    }.items()
    if missing:
        raise _other(min(missing)[0])
    names = {neuron.value for neuron in neurons}

    def original(part: tuple[Any, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        values = graph.values(as_images(part[0]))
        return values[graph.nodes[-1].name], {k: v for k, v in values.items() if k in names}

    return tuple(neurons), original


class _Watched(fx.Interpreter):
    """Runs a graph, and keeps what the nodes of some names gave."""

    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names, self.seen = names, dict[str, Tensor]()

    def run_node(self, n: fx.Node) -> Any:
        """Return what a node gives."""
        value = super().run_node(n)
        if n.name in self.names:
            self.seen[n.name] = value
        return value


def _general(
    model: nn.Module, snn: GeneralSpikingNetwork, given: tuple[Any, ...]
) -> tuple[tuple[Neuron, ...], Original]:
    """Neurons of a float network, and the captured model that they were placed in."""
    captured = capture(model, transform(given, lambda x: x[:2]))
    neurons = []
    for node in snn.body.graph.nodes:
        if node.op == "call_module" and str(node.target).startswith("spikes."):
            source = node.all_input_nodes[0]
            name = source.meta.get("path", source.name)
            neurons.append(Neuron(name, source.name, snn.body.get_submodule(str(node.target))))
    names = {neuron.value for neuron in neurons}
    shapes = {n.name: n.meta["value"].shape for n in captured.graph.nodes if "value" in n.meta}
    for neuron in neurons:
        if not neuron.fits(shapes.get(neuron.value, ())):
            raise _other(neuron.name)

    def original(part: tuple[Any, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        watched = _Watched(captured.module, names)
        return _rows(watched.run(*part)), watched.seen

    return tuple(neurons), original
