"""Nodes out of sums: what an activation closes, and the readout."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from spikeloom.conversion.graph import Added, Node, Padded, Pooled, Shape, Synaptic
from spikeloom.conversion.operations import Operation, Pair
from spikeloom.conversion.sums import Problem, Sum, Term, flattened, over, stream, windows
from spikeloom.conversion.zeros import dense
from spikeloom.neuron import SpikePack

__all__ = ["Builder"]

#: Classes that are read through weights of an identity: their number squared is stored.
MOST_CLASSES = 1024


class Builder:
    """Nodes of a graph that grows. Methods raise Problem where a sum has no spiking form.

    lengthwise: samples were (channels, length), and have got a width of 1.
    """

    def __init__(self, input_shape: Shape, lengthwise: bool = False) -> None:
        self.nodes: list[Node] = []
        self.lengthwise = lengthwise
        self.shapes: dict[str, Shape] = {"input": input_shape}
        self.bounds: dict[str, float] = {"input": 1.0}
        # what each closed sum became, by its identity; the sum is kept, so that the identity is too
        self.closed: dict[tuple[int, float], tuple[Sum, Sum]] = {}
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
        fires = isinstance(node, Added) or (isinstance(node, Synaptic) and node.fires)
        bound = node.bound if fires else self.bounds[node.sources[0]]  # type: ignore[attr-defined]
        frame = float(node.value.max()) if isinstance(node, Padded) else 0.0
        self.bounds[node.name] = max(bound, frame)
        return node.name

    def stream_of(self, name: str) -> Sum:
        """Return a node's output, as a sum."""
        return stream(name, self.shapes[name])

    def stream(self, e: Sum) -> tuple[Sum, Term]:
        """Return the sum as one node's output, for a layer that takes words."""
        if e.stream is None and e.positive:
            e = self.close(e, e.name)
        if e.stream is not None:
            return e, e.stream
        if len(e.terms) > 1:
            raise Problem(
                f"it is given the sum {e.name!r}, which is not activated; put nn.ReLU after the sum"
            )
        raise Problem(
            f"it is given the potentials of {e.name!r}, which is not activated; put nn.ReLU between"
        )

    def pool(
        self,
        op: Operation,
        e: Sum,
        term: Term,
        average: bool,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        ceil: bool = False,
    ) -> Sum:
        """Append a pooling of one node's output; an affine map on it moves behind the pooling.

        ceil: of a max pool; where windows reach over the end they see zero words, which never win.
        """
        shape = windows(e.shape, kernel, stride, padding, ceil)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise Problem(f"padding {padding} is more than half of its kernel {kernel}")
        source = term.source
        below, beside = over(e.shape, kernel, stride, padding) if ceil else (0, 0)
        if below or beside:
            channels, height, width = e.shape
            wide = (channels, height + below, width + beside)
            zero = torch.zeros(channels, dtype=torch.float64)
            name = self.name(f"{op.path}.pad")
            source = self.add(Padded(name, (source,), wide, zero, (0, below, 0, beside)))
        name = self.add(
            Pooled(self.name(op.path), (source,), shape, average, kernel, stride, padding)
        )
        return replace(e, terms=(replace(term, source=name),), inner=shape, name=name)

    def close(
        self, e: Sum, path: str, neuron: SpikePack | None = None, bound: float = math.inf
    ) -> Sum:
        """Let a sum fire: its nodes, and its output. neuron: what fires, if the model says so.

        bound: where the activation ends.
        """
        key = id(e), bound
        if key in self.closed:
            if neuron is not None:
                raise Problem("a second activation of the same sum; fire once, and use that twice")
            return self.closed[key][1]
        out = self.stream_of(self.fire(replace(e, bound=bound), path))
        if neuron is not None:
            self.neurons[out.terms[0].source] = neuron
        for op in e.pools:
            assert op.kernel is not None
            out = self.pool(op, out, out.terms[0], False, op.kernel, op.stride, op.padding, op.ceil)
        out = flattened(out) if e.flat else out
        self.closed[key] = (e, out)
        return out

    def fire(self, e: Sum, path: str) -> str:
        """Append the nodes of a sum that is activated; the name of the last one."""
        weighted = [t for t in e.terms if t.weight is not None]
        streams = [t for t in e.terms if t.weight is None]
        if not weighted:
            return self.fire_streams(e, self.joined(streams, 2, e), path)
        if len(e.terms) == 1:
            return self.synaptic(weighted[0], e, True)
        # the largest one fires; each adds the potentials of the next one, the last one the words
        weighted.sort(key=lambda t: t.groups > 1 or -math.prod(t.weight.shape[2:]))  # type: ignore[union-attr]
        if not all(t.convolves for t in weighted):
            raise Problem(
                "a residual sum of Linear layers has no spiking form; use nn.Conv2d, or activate"
                " both summands"
            )
        streams = self.joined(streams, 1, e)
        takers = weighted if streams else weighted[:-1]
        weighted[: len(takers)] = [dense(t) for t in takers]  # a depthwise layer takes no skip
        skip, scale = (streams[0].source, streams[0].scale) if streams else ("", None)
        inner = replace(e, bias=torch.zeros_like(e.bias))
        for term in weighted[:0:-1]:
            skip = self.synaptic(term, inner, False, skip, scale)
            scale = torch.ones_like(e.bias)
        return self.synaptic(weighted[0], e, True, skip, scale)

    def joined(self, streams: list[Term], most: int, e: Sum) -> list[Term]:
        """Add words two by two until ``most`` are left, in words of 8 bits: gates add two."""
        while len(streams) > most:
            plus = [t for t in streams if t.scale is not None and bool((t.scale >= 0).all())]
            if len(plus) < 2:
                raise Problem(
                    f"it is a sum of {len(streams)} spike streams, some times less than 0; put"
                    " nn.ReLU between"
                )
            a, b = plus[:2]
            scale = torch.stack([a.scale, b.scale])  # type: ignore[list-item]
            zero = torch.zeros_like(e.bias)
            node = Added(self.name(f"{e.name}.part"), (a.source, b.source), e.inner, scale, zero)
            name = self.add(replace(node, bits=8))
            rest = [t for t in streams if t is not a and t is not b]
            streams = [Term(name, torch.ones_like(zero)), *rest]
        return streams

    def fire_streams(self, e: Sum, streams: list[Term], path: str) -> str:
        """Append the node of a sum of words, one or two."""
        scales = [t.scale for t in streams if t.scale is not None]
        if len(streams) == 2:
            sources = (streams[0].source, streams[1].source)
            both = torch.stack(scales)
            return self.add(Added(self.name(e.name), sources, e.inner, both, e.bias, e.bound))
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
                e.bound if fires else math.inf,
                t.zeros,
            )
        )

    def readout(self, e: Sum) -> None:
        """Make the last sum the readout."""
        e = self.identity(self.whole(e))
        if e.linear is None or e.pools:
            raise Problem(
                "the model must end with a Linear layer (its outputs are the logits), not with an"
                " activation, a sum or a pooling of pixels; a pooling to one pixel may come last"
            )
        self.synaptic(e.linear, e, False)

    def whole(self, e: Sum) -> Sum:
        """Make a Linear of a convolution that sees the whole sample once."""
        term = e.terms[0]
        if term.convolves and term.weight is not None and len(e.terms) == 1 and not e.pools:
            seen = self.shapes[term.source]
            if tuple(term.weight.shape[1:]) == seen and term.padding == (0, 0):
                term = replace(term, weight=term.weight.flatten(1))
                return Sum((term,), e.bias, (len(e.bias),), e.name)
        return e

    def identity(self, e: Sum) -> Sum:
        """Read pooled spikes of one pixel a class through weights of an identity."""
        pooled = {node.name for node in self.nodes if isinstance(node, Pooled)}
        term = e.stream
        if term is None or term.source not in pooled:
            return e
        if math.prod(self.shapes[term.source][1:]) != 1 or len(e.bias) > MOST_CLASSES:
            return e
        assert term.scale is not None
        term = Term(term.source, None, torch.diag(term.scale), f"{term.source}.logits")
        return Sum((term,), e.bias, (len(e.bias),), e.name)
