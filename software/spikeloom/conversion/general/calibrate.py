"""Layer by layer through a captured model: thresholds, rounded weights, corrected biases.

Two streams pass through the graph in order, batch by batch: what the original gives, and what the
spikes really give, so that later thresholds and biases make up for earlier rounding. A value is
dropped after its last reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.conversion.general.capture import capture
from spikeloom.conversion.general.copies import unwrapped, warn_of_training_mode
from spikeloom.conversion.general.data import argument_names, arguments_of, batches, split
from spikeloom.conversion.general.edges import edge_of, relative_error
from spikeloom.conversion.general.inputs import RangeWords, span_of
from spikeloom.conversion.general.network import GeneralSpikingNetwork
from spikeloom.conversion.general.offset import BelowZero, search_offset
from spikeloom.conversion.general.plan import Firing, is_input, part_of_argument, place_neurons
from spikeloom.conversion.general.probe import loss, scale_like
from spikeloom.conversion.general.reconstruct import fitted, moments_of, total
from spikeloom.conversion.general.report import GeneralEdge, GeneralReport
from spikeloom.conversion.general.running import bind, run_node
from spikeloom.conversion.general.search import Gathered, gather, search
from spikeloom.conversion.general.tree import leaves, transform
from spikeloom.conversion.general.weights import input_scale, round_weights
from spikeloom.conversion.options import check_choice, check_integer
from spikeloom.conversion.recipes import Packed, RateCoding, changed
from spikeloom.conversion.thresholds import Choice, Granularity, Rule, choose
from spikeloom.conversion.unsupported import never_fires
from spikeloom.neuron import SpikePack
from spikeloom.signed import OffsetSpikePack, SignedSpikePack

__all__ = ["convert_general"]


@dataclass(frozen=True)
class _Options:
    recipe: Packed
    weight_bits: int | None
    below_zero: BelowZero
    reconstruct: bool


@torch.no_grad()
def convert_general(
    model: nn.Module,
    calibration: Any,
    steps: int = 4,
    *,
    recipe: Packed | None = None,
    input_bits: int = 8,
    granularity: Granularity | None = None,
    rule: Rule | None = None,
    bias_correction: bool | None = None,
    weight_bits: int | None = None,
    below_zero: BelowZero = "signed",
    reconstruct: bool = False,
    batch: int = 32,
    integer_problems: tuple[str, ...] = (),
) -> GeneralSpikingNetwork:
    """Convert a model into a float spiking network, whether or not it could become integers.

    calibration: a tensor or array (n, ...), or a tuple or dict of them for several inputs; uint8
    pixels are divided by 255. Any range: words of the inputs span that of the data.
    steps, input_bits: T of hidden words and of input words, 1..16.
    recipe: options of the calibration, see :class:`spikeloom.conversion.recipes.Packed`;
    granularity, rule and bias_correction change one of them.
    weight_bits: W, 2..8: round weights as gates do, a scale a row; None keeps them float.
    below_zero: words of values that may be negative: ``signed``, two's complement, or ``offset``,
    less a zero point that is searched with the threshold.
    reconstruct: fit weights to the words that really reach them, without labels, layer by layer,
    held back as a quarter of the calibration data says; round them so that errors of codes make up
    for each other. Biases are corrected then in any case.
    batch: samples that pass through the model together: bounds the memory.
    integer_problems: what the network will name as reasons for being float.

    Raises UnsupportedModelError listing every operation without a rule, InputError on calibration
    data that the model does not take, ValueError on a parameter out of range.
    """
    check_integer("steps", steps, 1, 16)
    check_integer("input_bits", input_bits, 1, 16)
    check_integer("weight_bits", weight_bits, 2, 8, none=True)
    check_choice("below_zero", below_zero, BelowZero)
    corrected = True if reconstruct else bias_correction
    chosen = changed(recipe, granularity=granularity, rule=rule, bias_correction=corrected)
    if isinstance(chosen, RateCoding):
        raise ValueError("RateCoding() is no recipe of convert_general: use spikeloom.convert")
    options, model = _Options(chosen, weight_bits, below_zero, reconstruct), unwrapped(model)
    if not integer_problems:  # else convert has said it
        warn_of_training_mode(model)
    given = arguments_of(model, calibration)
    n = len(next(iter(leaves(given)))[1])
    size = max(1, min(batch, -(-n // 4)))
    parts = batches(given, size)
    samples = transform(given, lambda x: x[:2])
    captured = capture(model, samples)
    _ranges(captured.module, parts)
    place_neurons(captured.module, steps, input_bits)
    calibrated = _Calibration(captured.module, parts, options)
    calibrated.run(captured.name)
    captured.module.delete_all_unused_submodules()
    report = GeneralReport(tuple(calibrated.edges), integer_problems, calibrated.output_error)
    names = argument_names(model)[: len(given)]
    return GeneralSpikingNetwork(
        captured.module, names, samples, integer_problems, report, captured.name
    )


def _ranges(module: fx.GraphModule, parts: list[tuple[Any, ...]]) -> None:
    """Give every input the range of its words."""
    seen: dict[fx.Node, list[Tensor]] = {}
    for part in parts:
        values = bind(module.graph, part)
        for node in module.graph.nodes:
            known = all(n in values for n in node.all_input_nodes)
            if node.op == "placeholder" or (known and (is_input(node) or part_of_argument(node))):
                values[node] = run_node(module, node, values)
                if is_input(node):
                    seen.setdefault(node, []).append(values[node])
    for node, values in seen.items():
        node.meta["range"] = span_of(values)


class _Calibration:
    """Streams of a graph with neurons to be: the original's, the spikes', and scales of words."""

    def __init__(
        self, module: fx.GraphModule, parts: list[tuple[Any, ...]], options: _Options
    ) -> None:
        self.module, self.options = module, options
        self.original = [bind(module.graph, part) for part in parts]
        self.spiking = [dict(values) for values in self.original]
        one = transform(parts[0], lambda x: x[:1])
        self.scale = bind(module.graph, one)
        self.edges: list[GeneralEdge] = []
        self.silent: list[str] = []
        self.output_error: dict[str, float] = {}

    def run(self, name: str) -> None:
        """Go through the graph once."""
        last: dict[fx.Node, list[fx.Node]] = {}
        seen: set[fx.Node] = set()
        for node in reversed(self.module.graph.nodes):
            for source in node.all_input_nodes:
                if source not in seen:
                    seen.add(source)
                    last.setdefault(node, []).append(source)
        for node in self.module.graph.nodes:
            kind = node.meta["rule"].kind
            if kind == "output":
                self.output(node, name)
                break
            if kind == "spikes":
                self.neuron(node)
            elif kind == "weighted":
                self.weighted(node)
            else:
                self.plain(node)
            self.describe(node)
            for source in [*last.get(node, []), *([node] if not node.users else [])]:
                for values in (*self.original, *self.spiking, self.scale):
                    values.pop(source, None)

    def plain(self, node: fx.Node) -> None:
        """Operations without anything to calibrate."""
        for values in (*self.original, *self.spiking):
            values[node] = run_node(self.module, node, values)
        self.scale[node] = self.scale_of(node)

    def scale_of(self, node: fx.Node) -> Any:
        """Scale of the words of one sample; the right shape, whatever the values."""
        rule = node.meta["rule"]
        source = node.all_input_nodes[0] if node.all_input_nodes else None
        if rule.kind == "affine" and rule.shifts and rule.label != "Affine":
            given = [n for n in node.all_input_nodes if n.meta["words"] is not None]
            result = run_node(self.module, node, self.scale)
            if given and self.scale[given[0]].shape == result.shape:
                return self.scale[given[0]]  # a constant that is added moves no scale
        if rule.label in ("Affine", "Normalise") and node.op == "call_module" and source:
            layer: Any = self.module.get_submodule(str(node.target))
            x = self.scale[source]
            return (layer(x) - layer(torch.zeros_like(x))).abs()
        return run_node(self.module, node, self.scale)

    def weighted(self, node: fx.Node) -> None:
        """Fit and round weights; keep the mean of every channel what it was."""
        layer: Any = self.module.get_submodule(str(node.target))
        source = node.all_input_nodes[0]
        for values in self.original:
            values[node] = run_node(self.module, node, values)
        words, gram = source.meta["words"], None
        pairs = [(s[source], o[node]) for s, o in zip(self.spiking, self.original, strict=True)]
        if self.options.reconstruct and (moments := moments_of(layer, pairs)):
            gram = total(moments).gram
            layer.weight = nn.Parameter(fitted(layer, moments))
        if self.options.weight_bits is not None:
            scale = input_scale(layer, self.scale[source] if words is not None else None)
            rounded = round_weights(layer, self.options.weight_bits, scale, gram)
            layer.weight = nn.Parameter(rounded)
        for values in self.spiking:
            values[node] = run_node(self.module, node, values)
        if self.options.recipe.bias_correction:
            self.correct(node, layer)
        self.scale[node] = torch.ones_like(run_node(self.module, node, self.scale))

    def correct(self, node: fx.Node, layer: Any) -> None:
        """Shift the bias by the mean error of each channel."""
        axis: int = node.meta["axis"] if node.meta["axis"] is not None else -1
        total, count = torch.zeros((), dtype=torch.float64), 0
        for a, b in zip(self.original, self.spiking, strict=True):
            off = (a[node] - b[node]).movedim(axis, -1).flatten(0, -2)
            total = total.to(off.device) + off.sum(0, dtype=torch.float64)
            count += len(off)
        shift = (total / count).to(layer.weight.dtype)
        bias = shift if layer.bias is None else layer.bias + shift
        layer.bias = nn.Parameter(bias.detach())
        for values in self.spiking:
            shape = [1] * values[node].ndim
            shape[axis] = -1
            values[node] = values[node] + shift.view(shape)

    def neuron(self, node: fx.Node) -> None:
        """Find thresholds, and fire."""
        firing: Firing = node.meta["firing"]
        source = node.all_input_nodes[0]
        for values in self.original:
            values[node] = values[source]
        neuron, theta, granularity, rule = (
            self.input_words(firing, source) if firing.is_input else self.fired(node, firing)
        )
        *parents, name = str(node.target).split(".")
        self.module.get_submodule(".".join(parents))._modules[name] = neuron
        for values in self.spiking:
            values[node] = neuron(values[source])
        like = self.scale[source]
        self.scale[node] = scale_like(theta, torch.ones_like(like), firing.axis)
        node.meta["granularity"], node.meta["threshold_rule"] = granularity, rule
        node.meta["thresholds"] = theta.double().cpu().numpy().reshape(-1)

    def input_words(self, firing: Firing, source: fx.Node) -> tuple[nn.Module, Tensor, str, str]:
        low, high = source.meta["range"]
        words = RangeWords(firing.steps, low, high)
        return words, words.scale, "channel" if low.ndim else "tensor", ""

    def fired(self, node: fx.Node, firing: Firing) -> tuple[nn.Module, Tensor, str, str]:
        source, recipe = node.all_input_nodes[0], self.options.recipe
        pairs = [(s[source], o[source]) for s, o in zip(self.spiking, self.original, strict=True)]
        everything = gather(pairs, firing)
        if not bool((everything.peak > 0).any()):
            self.silent.append(node.meta["path"])
        choice = choose(
            recipe.granularity,
            recipe.rule,
            self.losses(node, firing, pairs),
            channels=firing.axis is not None,
        )
        neuron = self.neuron_of(everything, firing, choice)
        return neuron, neuron.threshold, choice.granularity, choice.rule

    def neuron_of(self, data: Gathered, firing: Firing, choice: Choice) -> SpikePack:
        dtype, zero = torch.get_default_dtype(), None
        if firing.signed and self.options.below_zero == "offset":
            theta, zero = search_offset(data, firing, choice)
        else:
            theta = search(data, firing, choice)
        if choice.granularity == "tensor":
            theta, zero = theta[0], zero if zero is None else zero[0]
        theta, axis = theta.to(dtype).clamp(min=1e-30), firing.axis or 0
        if zero is not None:
            neuron = OffsetSpikePack(firing.steps, theta, zero, rounding=True, channel_dim=axis)
        else:
            make = SignedSpikePack if firing.signed else SpikePack
            neuron = make(firing.steps, theta, rounding=True, channel_dim=axis)
        return neuron.to(theta.device)

    def losses(
        self, node: fx.Node, firing: Firing, pairs: list[tuple[Tensor, Tensor]]
    ) -> Callable[[Choice], float]:
        """How a choice hurts what reads the words, on data that it was not fitted to."""
        fit, test = split(pairs)
        data = cache(lambda: gather(fit, firing))

        def lost(choice: Choice) -> float:
            neuron = self.neuron_of(data(), firing, choice)
            scale = scale_like(neuron.threshold, torch.ones_like(pairs[0][0][:1]), firing.axis)
            parts = [(neuron(v), target, scale) for v, target in test]
            return loss(self.module, node, parts, self.options.weight_bits)

        return lost

    def describe(self, node: fx.Node) -> None:
        """Add a node's edge to the report."""
        pairs = [(s[node], o[node]) for s, o in zip(self.spiking, self.original, strict=True)]
        edge = edge_of(node, pairs, self.options.below_zero)
        if edge is not None:
            self.edges.append(edge)

    def output(self, node: fx.Node, name: str) -> None:
        """Errors of the outputs; refuse a network that nothing spikes in."""
        given = [
            (
                list(leaves(run_node(self.module, node, s))),
                list(leaves(run_node(self.module, node, o))),
            )
            for s, o in zip(self.spiking, self.original, strict=True)
        ]
        dead = bool(self.silent)
        for index, (where, first) in enumerate(given[0][0]):
            if not first.is_floating_point():
                continue
            pairs = [(s[index][1], o[index][1]) for s, o in given]
            self.output_error[where] = relative_error(pairs)
            dead = dead and not any(bool((s != s[:1]).any()) for s, _ in pairs)
        if dead:
            raise never_fires(name, self.silent)
