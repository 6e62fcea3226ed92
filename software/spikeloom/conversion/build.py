"""Nodes out of sums: what an activation closes, and the readout."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from spikeloom.conversion.graph import Added, Node, Pooled, Shape, Synaptic
from spikeloom.conversion.operations import Operation, Pair
from spikeloom.conversion.sums import Problem, Sum, Term, flattened, stream, windows
from spikeloom.neuron import SpikePack

__all__ = ["Builder"]


class Builder:
    """Nodes of a graph that grows. Methods raise Problem where a sum has no spiking form."""

    def __init__(self, input_shape: Shape) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {"input": input_shape}
        # what each closed sum became, by its identity; the sum is kept, so that the identity is too
        self.closed: dict[int, tuple[Sum, Sum]] = {}
        self.neurons: dict[str, SpikePack] = {}

    def name(self, wanted: str) -> str:
        """Return a name that no node has: a module may be called more than once."""
        names, name, count = {"input", *(n.name for n in self.nodes)}, wanted, 1
        while name in names:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def add(self, node: Node) -> str:
        """Append a node; its name."""
        for value in vars(node).values():
            if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
                raise Problem("its weights are NaN or infinite; train it again")
        self.nodes.append(node)
        self.shapes[node.name] = node.shape
        return node.name

    def stream_of(self, name: str) -> Sum:
        """Return a node's output, as a sum."""
        return stream(name, self.shapes[name])

    def pool(
        self,
        op: Operation,
        e: Sum,
        term: Term,
        average: bool,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
    ) -> Sum:
        """Append a pooling of one node's output; an affine map on it moves behind the pooling."""
        shape = windows(e.shape, kernel, stride, padding)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise Problem(f"padding {padding} is more than half of its kernel {kernel}")
        name = self.add(
            Pooled(self.name(op.path), (term.source,), shape, average, kernel, stride, padding)
        )
        return replace(e, terms=(replace(term, source=name),), inner=shape, name=name)

    def close(self, e: Sum, path: str, neuron: SpikePack | None = None) -> Sum:
        """Let a sum fire: its nodes, and its output. neuron: what fires, if the model says so."""
        if id(e) in self.closed:
            if neuron is not None:
                raise Problem("a second activation of the same sum; fire once, and use that twice")
            return self.closed[id(e)][1]
        out = self.stream_of(self.fire(e, path))
        if neuron is not None:
            self.neurons[out.terms[0].source] = neuron
        for op in e.pools:
            out = self.pool(op, out, out.terms[0], False, op.kernel, op.stride, op.padding)
        out = flattened(out) if e.flat else out
        self.closed[id(e)] = (e, out)
        return out

    def fire(self, e: Sum, path: str) -> str:
        """Append the nodes of a sum that is activated; the name of the last one."""
        weighted = [t for t in e.terms if t.weight is not None]
        streams = [t for t in e.terms if t.weight is None]
        if not weighted:
            return self.fire_streams(e, streams, path)
        if len(e.terms) == 1:
            return self.synaptic(weighted[0], e, True)
        # the skip goes into the larger of two convolutions
        weighted.sort(key=lambda t: t.groups > 1 or -math.prod(t.weight.shape[2:]))  # type: ignore[union-attr]
        main = weighted[0]
        if not main.convolves or not all(t.convolves for t in weighted):
            raise Problem(
                "a residual sum of Linear layers has no spiking form; use nn.Conv2d, or activate"
                " both summands"
            )
        if main.groups > 1:
            raise Problem(
                "a depthwise convolution takes no skip; put nn.ReLU between it and the sum"
            )
        if streams:
            return self.synaptic(main, e, True, streams[0].source, streams[0].scale)
        other = weighted[1]
        nothing = replace(e, bias=torch.zeros_like(e.bias))
        skip = self.synaptic(other, nothing, False)
        return self.synaptic(main, e, True, skip, torch.ones_like(e.bias))

    def fire_streams(self, e: Sum, streams: list[Term], path: str) -> str:
        """Append the node of a sum of words, one or two."""
        scales = [t.scale for t in streams if t.scale is not None]
        if len(streams) == 2:
            sources = (streams[0].source, streams[1].source)
            return self.add(Added(self.name(e.name), sources, e.inner, torch.stack(scales), e.bias))
        if len(e.inner) != 3:
            raise Problem(f"a ReLU needs a Linear layer before it; {path} has none")
        weight = scales[0].view(-1, 1, 1, 1)  # a neuron a pixel, with one synapse
        groups = len(weight)
        term = Term(streams[0].source, None, weight, path, groups=groups)
        return self.synaptic(term, e, True)

    def synaptic(
        self, t: Term, e: Sum, fires: bool, skip: str = "", scale: Tensor | None = None
    ) -> str:
        """Append the node of one term with weights."""
        assert t.weight is not None
        sources = (t.source, skip) if skip else (t.source,)
        name = self.name(t.name)
        return self.add(
            Synaptic(
                name,
                sources,
                e.inner,
                t.weight,
                e.bias,
                fires,
                t.stride,
                t.padding,
                t.groups,
                scale,
            )
        )

    def readout(self, e: Sum) -> None:
        """Make the last sum the readout."""
        term = e.terms[0]
        if term.convolves and term.weight is not None and len(e.terms) == 1 and not e.pools:
            # a convolution that sees the whole sample once is a Linear
            seen = self.shapes[term.source]
            if tuple(term.weight.shape[1:]) == seen and term.padding == (0, 0):
                term = replace(term, weight=term.weight.flatten(1))
                e = Sum((term,), e.bias, (len(e.bias),), e.name)
        if e.linear is None or e.pools:
            raise Problem(
                "the model must end with a Linear layer (its outputs are the logits), not with an"
                " activation, a sum or a pooling"
            )
        self.synaptic(e.linear, e, False)
