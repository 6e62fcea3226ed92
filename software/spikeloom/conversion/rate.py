"""The spiking baseline: rate coding, integrate and fire with reset by subtraction, T steps.

The same input is given at every step. A neuron with threshold theta starts from v = charge * theta;
at t = 1..T

    v += current        s_t = 1 if v >= theta else 0        v -= s_t * theta

so that theta * (sum of s_t) / T comes near the activation of the original, as far as that is within
0..theta (Rueckauer et al., Frontiers in Neuroscience 2017). Work and time grow with T.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from spikeloom.conversion.graph import (
    Added,
    Graph,
    Node,
    Pooled,
    Synaptic,
    forward,
    per_channel,
    potentials,
)
from spikeloom.conversion.options import check_integer
from spikeloom.conversion.readers import dims, in_parts
from spikeloom.conversion.recipes import RateCoding
from spikeloom.conversion.spiking import InputWords, shaped
from spikeloom.conversion.thresholds import Choice, Codes, positions, thresholds
from spikeloom.conversion.unsupported import never_fires

__all__ = ["MOST_STEPS", "RateNetwork", "rate_network"]

MOST_STEPS = 4096


class _Stage(nn.Module):
    """One node of a folded model at every step; its tensors are buffers.

    theta: (channels,) of its neurons, None where nothing fires.
    """

    theta: Tensor | None

    def __init__(self, node: Node, theta: Tensor | None, charge: float) -> None:
        super().__init__()
        self.node, self.charge = node, charge
        self.register_buffer("theta", theta)
        values = {field.name: getattr(node, field.name) for field in fields(node)}
        self.tensors = [name for name, value in values.items() if isinstance(value, Tensor)]
        for name in self.tensors:
            self.register_buffer(name, values[name].to(torch.get_default_dtype()))

    def forward(self, given: list[Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What leaves at this step, and the state for the next one; it begins empty."""
        node = replace(self.node, **{name: getattr(self, name) for name in self.tensors})
        if isinstance(node, Pooled) and not node.average:
            # spikes whose sum is the greatest of all sums so far: at most one more at a time
            total = given[0] + state[0] if state else given[0]
            most = node(total)
            return most - state[1] if state else most, total, most
        current = potentials(node, given)
        if self.theta is None:
            return (current,)
        theta = per_channel(self.theta.to(current.dtype), current)
        v = (state[0] if state else self.charge * theta) + current
        fired = theta * (v >= theta)
        return fired, v - fired


class RateNetwork(nn.Module):
    """A network of integrate-and-fire neurons that count: made by ``convert(recipe=RateCoding())``.

    forward: images (n, *sample shape), uint8 or floats 0..1, to logits (n, classes), the mean of T
    steps; InputError on a wrong shape, dtype or range. It has no integer form.
    spikes_per_neuron: of the last call, by layer: mean number of spikes in T steps, 0..T.
    """

    def __init__(
        self, stages: list[_Stage], sample_shape: tuple[int, ...], steps: int, input_bits: int
    ) -> None:
        super().__init__()
        self.sample_shape, self.steps = sample_shape, steps
        self.encode = InputWords(input_bits)
        self.stages = nn.ModuleList(stages)
        self.spikes_per_neuron: dict[str, float] = {}

    def extra_repr(self) -> str:
        """Parameters, for ``print(model)``."""
        return f"steps={self.steps}"

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(n, *sample shape) -> (n, classes)."""
        x = self.encode(shaped(images, self.sample_shape))
        stages = [stage for stage in self.stages if isinstance(stage, _Stage)]
        states: dict[str, tuple[Tensor, ...]] = {stage.node.name: () for stage in stages}
        counts: Counter[str] = Counter()
        total = torch.zeros(())
        for _ in range(self.steps):
            values = {"input": x}
            for stage in stages:
                name = stage.node.name
                out, *state = stage([values[s] for s in stage.node.sources], states[name])
                values[name], states[name] = out, tuple(state)
                if stage.theta is not None:
                    counts[name] += int(out.count_nonzero())
            total = total.to(x.device) + values[stages[-1].node.name]
        self.spikes_per_neuron = {
            name: count / states[name][0].numel() for name, count in counts.items()
        }
        return total / self.steps


@torch.no_grad()
def rate_network(
    graph: Graph, images: Tensor, steps: int, input_bits: int, recipe: RateCoding, name: str
) -> RateNetwork:
    """Make the network of a folded model, with thresholds from its activations on images 0..1.

    Raises ValueError unless steps are 1..4096, UnsupportedModelError where nothing is ever positive
    and the output never changes.
    """
    check_integer("steps", steps, 1, MOST_STEPS)
    choice = Choice(recipe.granularity, recipe.rule)
    values, stages, silent = {"input": images.float()}, list[_Stage](), list[str]()
    left = Counter(source for node in graph.nodes for source in node.sources)
    for node in graph.nodes:
        given = [values[source] for source in node.sources]

        def run(*parts: Tensor, node: Node = node) -> Tensor:
            return forward(node, list(parts))

        target = values[node.name] = in_parts(run, *given)
        theta = None
        if isinstance(node, Added) or (isinstance(node, Synaptic) and node.fires):
            rows, peak = positions(target, target), target.amax(dims(target))
            theta = thresholds(*rows, Codes(0, 1), choice, peak=peak)
            if not bool((peak > 0).any()):
                silent.append(node.name)
        stages.append(_Stage(node, theta, recipe.charge))
        left.subtract(node.sources)
        for source in set(node.sources):
            if not left[source]:
                del values[source]
    logits = values[graph.nodes[-1].name]
    if silent and not bool((logits != logits[:1]).any()):
        raise never_fires(name, silent)
    return RateNetwork(stages, tuple(images.shape[1:]), steps, input_bits)
