"""The networks that ``neuron.py`` and ``neuron_accuracy.py`` compare: one plan, many neurons.

Neurons without a time axis (``FLAT``): torch's fake-quantise (one scale, a scale a channel, a
learned scale) and SpikePack (fixed, a threshold a channel, learned, learned with the potentials
kept). Neurons over T steps (``STEPPED``): leaky integrate and fire, leak 0.5, threshold 1, soft
reset without gradient; ours, spikingjelly's and snntorch's, with their own surrogate gradients.

Backends. spikingjelly 2 chooses one by the device: on a CPU it has one, its registered operator; on
CUDA it prefers its own kernels, then Triton. snntorch has one, a loop over steps in Python: its
``LeakyParallel`` has no reset and no form for images, its ``StateLeaky`` no reset.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from spikeloom import SpikePack
from spikeloom.lif import LIF
from torch import Tensor, nn

CLASSES = 10
#: (outputs, stride) of the 3x3 convolutions of a network.
Plan = Sequence[tuple[int, int]]


class Network(nn.Module):
    """Convolution, batch norm and activation for each entry of the plan, mean, linear.

    steps > 0: every layer is given T steps at once, (T, n, ...), and outputs are averaged over T.
    """

    def __init__(
        self, activation: Callable[[int], nn.Module], inputs: int, plan: Plan, steps: int = 0
    ) -> None:
        super().__init__()
        self.steps, layers = steps, []
        for outputs, stride in plan:
            conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            layers.append(nn.ModuleList([conv, nn.BatchNorm2d(outputs), activation(outputs)]))
            inputs = outputs
        self.blocks, self.head = nn.ModuleList(layers), nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, classes)."""
        if self.steps:  # the same image every step, as is usual
            x = x.expand(self.steps, *x.shape).flatten(0, 1)
        for block in self.blocks:
            conv, norm, activation = block  # type: ignore[misc]
            x = norm(conv(x))
            if self.steps:
                # flattening what a step gives keeps the order of memory of a convolution
                x = activation(x.unflatten(0, (self.steps, -1))).flatten(0, 1)
            else:
                x = activation(x)
        y = self.head(x.mean((2, 3)))
        return y.unflatten(0, (self.steps, -1)).mean(0) if self.steps else y


class FakeQuantise(nn.Module):
    """Torch's fake-quantise to T bits. kind: ``tensor``, ``channel`` or ``learned``."""

    scale: Tensor
    zero: Tensor

    def __init__(self, kind: str, channels: int, steps: int) -> None:
        super().__init__()
        self.kind, self.top = kind, (1 << steps) - 1
        scale = torch.full((channels if kind == "channel" else 1,), start(steps))
        if kind == "learned":
            self.scale = nn.Parameter(scale)
        else:
            self.register_buffer("scale", scale)
        zero = torch.float32 if kind == "learned" else torch.int32
        self.register_buffer("zero", torch.zeros(len(scale), dtype=zero))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        s, z, top = self.scale, self.zero, self.top
        if self.kind == "tensor":
            return torch.fake_quantize_per_tensor_affine(x, s, z, 0, top)
        if self.kind == "channel":
            return torch.fake_quantize_per_channel_affine(x, s, z, 1, 0, top)
        learnable: Any = torch._fake_quantize_learnable_per_tensor_affine  # type: ignore[attr-defined]
        return learnable(x, s, z, 0, top, 1.0)


class SnnTorch(nn.Module):
    """Its Leaky, step by step."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.neuron = snntorch.Leaky(0.5, reset_mechanism="subtract")

    def forward(self, x: Tensor) -> Tensor:
        """(T, n, ...)."""
        state, spikes = self.neuron.reset_mem(), []
        for current in x:
            spike, state = self.neuron(current, state)
            spikes.append(spike)
        return torch.stack(spikes)


class SpikingJelly(nn.Module):
    """Its LIFNode in multi-step mode; input not decayed, as in the other two."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.neuron = neuron.LIFNode(
            2.0, decay_input=False, v_reset=None, detach_reset=True, step_mode="m"
        )

    def forward(self, x: Tensor) -> Tensor:
        """(T, n, ...)."""
        self.neuron.reset()
        return self.neuron(x)


def start(steps: int) -> float:
    """Threshold or scale behind a batch norm: 2 mean |v| / sqrt(2^T - 1) of a normal v.

    Source: the start of learned step sizes (Esser et al., LSQ, ICLR 2020).
    """
    return 1.6 / ((1 << steps) - 1) ** 0.5


#: Neurons whose cost is to be flat in T: given channels and T.
FLAT: dict[str, Callable[[int, int], nn.Module]] = {
    "fake-quantise": lambda c, t: FakeQuantise("tensor", c, t),
    "fake-quantise, channel": lambda c, t: FakeQuantise("channel", c, t),
    "fake-quantise, learned": lambda c, t: FakeQuantise("learned", c, t),
    "SpikePack": lambda c, t: SpikePack(t, start(t), rounding=True),
    "SpikePack, channel": lambda c, t: SpikePack(t, torch.full((c,), start(t)), rounding=True),
    "SpikePack, learned": lambda c, t: SpikePack(
        t, torch.full((c,), start(t)), rounding=True, trainable=True
    ),
    "SpikePack, learned exact": lambda c, t: SpikePack(
        t, torch.full((c,), start(t)), rounding=True, trainable=True, lean=False
    ),
}
#: Neurons with T steps, the packages that they need, and what makes them.
STEPPED: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "LIF (ours)": ("spikeloom", lambda: LIF(0.5)),
    "LIF (spikingjelly)": ("spikingjelly", SpikingJelly),
    "LIF (snntorch)": ("snntorch", SnnTorch),
}


def build(name: str, steps: int, inputs: int, plan: Plan) -> Network:
    """Return the network of a neuron: ``ReLU``, or one of ``FLAT`` and ``STEPPED``."""
    if name in STEPPED:
        maker = STEPPED[name][1]
        return Network(lambda channels: maker(), inputs, plan, steps)
    if name == "ReLU":
        return Network(lambda channels: nn.ReLU(), inputs, plan)
    return Network(lambda channels: FLAT[name](channels, steps), inputs, plan)


def installed(device: str) -> list[str]:
    """Names of ``STEPPED`` that can run here; prints which version and backend, or what to do."""
    backends = {
        "spikeloom": "torch, the backward by hand",
        "spikingjelly": "its CPU operator" if device == "cpu" else "its choice of CUDA kernels",
        "snntorch": "a loop of torch operations",
    }
    names = []
    for name, (package, _) in STEPPED.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name}: left out, not installed: pip install {package}")
        else:
            print(f"{name}: {importlib.metadata.version(package)}, {backends[package]}")
            names.append(name)
    return names
