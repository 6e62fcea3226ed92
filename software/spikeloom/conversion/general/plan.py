"""Where words live in a captured graph, and where neurons have to fire so that they do.

Every tensor that enters weights must be packed words, or an exact function of words with known
bits. Demand runs backward through operations that keep words; a neuron is placed where it meets the
operation that made real values, right after it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from spikeloom.conversion.general.arguments import arguments, operation
from spikeloom.conversion.general.rules import Rule
from spikeloom.conversion.thresholds import Codes

__all__ = [
    "WIDEST",
    "Firing",
    "Words",
    "data_inputs",
    "is_input",
    "part_of_argument",
    "place_neurons",
]

#: Bits of the widest sums that still count as words; wider ones fire again.
WIDEST = 16

#: Kinds through which a demand for words reaches what is in front.
_PASSING = ("keep", "wide", "affine")


@dataclass(frozen=True)
class Words:
    """Integers behind a tensor. shifted: a constant a channel is added to them."""

    bits: int
    signed: bool = False
    shifted: bool = False


@dataclass(frozen=True)
class Firing:
    """A neuron to be placed after a node. axis: channels of its values, None if they moved away.

    cap: bound of the values, which caps the threshold. is_input: words of what the user gives.
    """

    steps: int
    signed: bool
    axis: int | None
    cap: float | None = None
    is_input: bool = False

    @property
    def codes(self) -> Codes:
        """Least and greatest word."""
        if self.signed:
            half = 1 << (self.steps - 1)
            return Codes(-half, half - 1)
        return Codes(0, (1 << self.steps) - 1)


def data_inputs(node: fx.Node) -> list[fx.Node]:
    """Tensors (or tuples of them) that a node reads; sizes and numbers are none."""
    return [n for n in node.all_input_nodes if n.meta["rule"].kind != "size"]


def is_input(node: fx.Node) -> bool:
    """Whether a node gives a tensor of the user's: an argument, or a part of one."""
    if node.meta["value"].kind != "tensor" or not node.meta["value"].floating:
        return False
    return node.op == "placeholder" or part_of_argument(node)


def part_of_argument(node: fx.Node) -> bool:
    """Whether a node is a dict, tuple or list that the user gives, or an element of one."""
    if node.op == "placeholder":
        return node.meta["value"].kind != "tensor"
    if node.op not in ("call_function", "call_method") or operation(node) != "getitem":
        return False
    source = node.args[0]
    return isinstance(source, fx.Node) and part_of_argument(source)


def _weights_read(node: fx.Node) -> fx.Node:
    source = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(source, fx.Node)
    return source


def _demanded(graph: fx.Graph) -> set[fx.Node]:
    """Nodes whose values must be words."""
    wanted: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        rule: Rule = node.meta["rule"]
        if rule.kind == "weighted":
            wanted.add(_weights_read(node))
        elif node in wanted and rule.kind in _PASSING:
            given = data_inputs(node)
            if rule.kind == "affine":  # factors and shifts fold into the weights
                given = [n for n in given if n.meta["rule"].kind != "constant"]
            wanted.update(given)
    return wanted


def _non_negative(node: fx.Node) -> bool:
    """Whether values of a node are never below zero; those in front of it are known."""
    rule: Rule = node.meta["rule"]
    if rule.kind == "constant" and node.meta["value"].kind == "tensor":
        return node.meta["value"].low >= 0
    if rule.sign == "inherit":
        given = data_inputs(node)
        return bool(given) and all(n.meta["non_negative"] for n in given)
    return rule.sign == "unsigned"


def _taps(node: fx.Node, rule: Rule) -> int:
    if rule.taps:
        return rule.taps
    before = math.prod(data_inputs(node)[0].meta["value"].shape)
    return max(1, -(-before // max(math.prod(node.meta["value"].shape), 1)))


def _words(node: fx.Node) -> Words | None:
    """Words that an operation makes of words, None where real values come out."""
    rule: Rule = node.meta["rule"]
    given = [n.meta["words"] for n in data_inputs(node) if n.meta["rule"].kind != "constant"]
    words = [w for w in given if w is not None]
    if not words or len(words) < len(given):
        return None
    constants = [n for n in data_inputs(node) if n.meta["rule"].kind == "constant"]
    if constants and rule.kind != "affine":
        if any(n.meta["words"] is None for n in constants):
            return None
        words += [n.meta["words"] for n in constants]
    joined = Words(
        max(w.bits for w in words), any(w.signed for w in words), any(w.shifted for w in words)
    )
    if rule.kind == "keep":
        return joined
    if rule.kind == "wide":
        bits = joined.bits + math.ceil(math.log2(_taps(node, rule)))
        return Words(bits, joined.signed, joined.shifted) if bits <= WIDEST else None
    if rule.kind == "affine":
        return Words(joined.bits, joined.signed, joined.shifted or rule.shifts)
    if rule.kind == "relu" and not joined.shifted:
        return Words(joined.bits)
    return None


_MOVING = {
    "flatten", "unflatten", "reshape", "view", "squeeze", "unsqueeze", "stack", "getitem", "select",
    "repeat", "t", "movedim", "pixel_shuffle", "pixel_unshuffle", "unfold", "repeat_interleave",
    "tile", "view_as", "reshape_as", "amax", "amin", "max", "min", "mean", "sum", "getattr",
}  # fmt: skip
_REARRANGING = {
    "flatten", "unflatten", "reshape", "view", "permute", "transpose", "swapaxes", "movedim",
    "contiguous", "squeeze", "unsqueeze",
}  # fmt: skip
_MOVING_MODULES = {"Flatten", "Unflatten", "PixelShuffle", "PixelUnshuffle", "Unfold"}


def _axis(node: fx.Node, module: fx.GraphModule) -> int | None:
    """Axis of the channels of a node's values, None if there is none to share a threshold along."""
    value, rule = node.meta["value"], node.meta["rule"]
    if value.kind != "tensor" or len(value.shape) < 2:
        return None
    if node.op == "call_module":
        kind = type(module.get_submodule(str(node.target))).__name__
        if kind in ("Linear", "LayerNorm", "Embedding"):
            return len(value.shape) - 1
        if rule.kind == "weighted" or kind in ("Affine", "GroupNorm"):
            return 1
        if kind in _MOVING_MODULES:
            return None
    if rule.label in ("matmul", "bmm", "scaled_dot_product_attention"):
        return None
    axes = {n.meta["axis"] for n in data_inputs(node) if n.meta["rule"].kind != "constant"}
    axis = axes.pop() if len(axes) == 1 else None
    if axis is None or node.op == "call_module":
        return axis
    name = operation(node) if node.op in ("call_function", "call_method") else None
    if name == "permute":
        dims = [d for d in _numbers(node)]
        return dims.index(axis) if len(dims) == len(value.shape) and axis in dims else None
    if name in ("transpose", "swapaxes"):
        pair = [d % len(value.shape) for d in _numbers(node)]
        swap = {pair[0]: pair[1], pair[1]: pair[0]} if len(pair) == 2 else {}
        return swap.get(axis, axis)
    if name in _MOVING:
        return axis if _kept_shape(node) else None
    return axis


def _numbers(node: fx.Node) -> list[int]:
    given: list[Any] = [*node.args[1:], *node.kwargs.values()]
    flat = [d for part in given for d in (part if isinstance(part, (tuple, list)) else [part])]
    return [d % len(node.meta["value"].shape) for d in flat if isinstance(d, int)]


def _moves(node: fx.Node) -> bool:
    """Whether a node only moves elements: all of them, to one tensor."""
    known = node.op in ("call_function", "call_method") and operation(node) in _REARRANGING
    return known and node.meta["value"].kind == "tensor"


def _axis_of_readers(node: fx.Node, module: fx.GraphModule) -> int | None:
    """Axis of what layers call their input channels, None if they differ or others read it."""
    axes = set()
    for user in node.users:
        if user.op == "output":
            continue
        if user.meta["rule"].kind != "weighted":
            return None
        layer = module.get_submodule(str(user.target))
        axes.add(len(node.meta["value"].shape) - 1 if isinstance(layer, nn.Linear) else 1)
    return axes.pop() if len(axes) == 1 else None


def _kept_shape(node: fx.Node) -> bool:
    """Whether axes kept their place: keepdim reductions of others than the channels."""
    given = arguments(node)
    source = given.get("input")
    if not isinstance(source, fx.Node) or source.meta["axis"] is None:
        return False
    before, after = source.meta["value"].shape, node.meta["value"].shape
    axis = source.meta["axis"]
    return len(before) == len(after) and before[axis] == after[axis]


def place_neurons(module: fx.GraphModule, steps: int, input_bits: int) -> None:
    """Insert a neuron after every node whose real values have to become words, and after inputs.

    Neurons are placeholders (``meta["firing"]`` says what they will be). Sets ``words`` (None where
    real values come out), ``axis`` and ``non_negative`` in the meta of every node. Inputs carry
    their ``range``. The outputs of the model read real values. Where the channels moved away, as in
    the heads of attention, a neuron fires behind the reshapes that bring them back.
    """
    wanted = _demanded(module.graph)
    neurons = nn.ModuleDict()
    module.add_module("spikes", neurons)
    for node in list(module.graph.nodes):
        meta = node.meta
        if node.op == "output":
            continue
        meta["words"], meta["axis"], meta["non_negative"] = None, None, False
        if is_input(node):
            low = meta["range"][0]
            meta["axis"] = 1 if low.ndim else None
            meta["non_negative"] = bool((low >= 0).all())
            words = Words(input_bits, shifted=bool((low != 0).any()))
            firing = Firing(input_bits, False, meta["axis"], is_input=True)
        else:
            meta["non_negative"] = _non_negative(node)
            meta["axis"] = _axis(node, module)
            meta["words"] = _words(node)
            value = meta["value"]
            real = value.kind == "tensor" and value.floating
            if node not in wanted or meta["words"] is not None or not real:
                continue
            if meta["axis"] is None:
                readers = [user for user in node.users if user.op != "output"]
                if all(user in wanted and _moves(user) for user in readers):
                    continue  # channels may be found again behind a reshape
                meta["axis"] = _axis_of_readers(node, module)
            words = Words(steps, not meta["non_negative"])
            firing = Firing(steps, words.signed, meta["axis"], meta["rule"].cap)
        _insert(module, neurons, node, firing, words)
    module.graph.lint()
    module.recompile()


def _insert(
    module: fx.GraphModule, neurons: nn.ModuleDict, node: fx.Node, firing: Firing, words: Words
) -> None:
    name = re.sub(r"\W+", "_", node.meta["path"])
    while name in neurons:
        name += "_"
    neurons[name] = nn.Identity()
    with module.graph.inserting_after(node):
        spikes = module.graph.call_module(f"spikes.{name}", (node,))
    node.replace_all_uses_with(
        spikes, delete_user_cb=lambda user: user is not spikes and user.op != "output"
    )
    spikes.meta.update(node.meta)
    spikes.meta.update(rule=Rule("spikes", "spikes"), words=words, firing=firing)
