"""Weights fitted to what reaches them in the integer network: on samples, without labels.

For each layer in order: the words x that the integer network so far really gives it, and the
potentials t that its float twin, or the original network, has on the same samples. The real weights
become those of the linear regression of t on x, with a ridge towards the trained ones; they are
rounded by :func:`spikeloom.conversion.rounding.round_rows` with the moments of x. Against the
original, weights also make up for words of few bits: the regression trusts coarse words less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from spikeloom.conversion.fold import fold
from spikeloom.conversion.graph import Node, Pair, Synaptic, forward
from spikeloom.conversion.layers import SpikingConv2d, SpikingLayer, SpikingLinear
from spikeloom.conversion.rounding import Array, Moments
from spikeloom.conversion.scales import Folded
from spikeloom.conversion.spiking import SpikingNetwork, as_images
from spikeloom.conversion.trace import trace
from spikeloom.errors import InputError
from spikeloom.golden_steps import make_step
from spikeloom.network import INPUT
from spikeloom.ops import Edge, Op

__all__ = ["Less", "Samples"]

_ROWS = 1 << 17  #: positions of all samples that a layer is fitted to: more change nothing
_BATCH = 64  #: samples at once

#: What else goes into potentials: values (n, outputs, ...) and a factor (outputs,) of each.
Less = Sequence[tuple[Tensor, Array]]


class Samples:
    """Samples on their way through the integer network, and through its float twin beside it.

    snn: the float twin. images: (n, *sample shape), as for ``convert``. original: the model that
    the twin was made from, which then stands in for it.
    Raises InputError on wrong images, or another original.
    """

    def __init__(
        self, snn: SpikingNetwork, images: Tensor | NDArray, original: nn.Module | None = None
    ) -> None:
        x = snn.shaped(torch.as_tensor(images).detach().cpu(), "samples to reconstruct with")
        if not len(x):
            raise InputError(f"no samples to reconstruct with are given, {snn.takes} with n > 0")
        values = snn.encode(x)
        self.nodes = {} if original is None else _nodes(snn, original)
        self.twin: dict[str, Tensor] = {INPUT: as_images(x) if self.nodes else values}
        words = torch.round(values * snn.encode.top).to(torch.uint8)
        self.words: dict[str, Tensor] = {INPUT: words}
        self.edges = {INPUT: Edge(snn.sample_shape, snn.encode.bits)}
        self.reach = {INPUT: snn.encode.top}
        self.before = INPUT
        self.left = Counter(name for layer in snn.spiking_layers for name in layer.sources)
        self.rows = max(1, _ROWS // len(x))

    @torch.no_grad()
    def ran(self, op: Op) -> None:
        """Run an op that was lowered."""
        sources = [name or self.before for name in op.sources]
        edge = op.infer(*(self.edges[name] for name in sources))
        step = make_step(op, [self.reach[name] for name in sources], edge, torch.device("cpu"))
        parts = []
        for given in zip(*(self.words[name].split(_BATCH) for name in sources), strict=True):
            potentials, words = step(*given)
            out = potentials if words is None else words
            assert out is not None
            parts.append(out.to(torch.int32 if edge.signed else torch.uint8))
        self.words[op.name], self.edges[op.name] = torch.cat(parts), edge
        self.reach[op.name] = step.reach
        self.before = op.name

    @torch.no_grad()
    def passed(self, layer: SpikingLayer) -> None:
        """Run a layer of the float twin, or its original; drop what nobody needs any more."""
        given = (self.twin[name].split(_BATCH) for name in layer.sources)
        node = self.nodes.get(layer.name)
        self.twin[layer.name] = torch.cat([
            layer(*part) if node is None else forward(node, list(part))
            for part in zip(*given, strict=True)
        ])  # fmt: skip
        self.left.subtract(layer.sources)
        for name in set(layer.sources):
            if not self.left[name]:
                del self.twin[name]

    @torch.no_grad()
    def fit(
        self,
        layer: SpikingLinear | SpikingConv2d,
        folded: Folded,
        source: str,
        less: Less = (),
    ) -> Folded:
        """Fit the weights of a layer to the words of ``source``.

        less: what the integer network adds to the layer's own sum.
        """
        mean, wanted, gram, cross = self._moments(layer, source, less)
        moments = Moments(gram)
        V = folded.V
        if gram.ndim == 2:
            V = V + np.linalg.solve(moments.damped, (cross - V @ gram).T).T
            varies = np.diag(gram) > 0
        else:
            off = cross - np.einsum("ri,rij->rj", V, gram)
            V = V + np.linalg.solve(moments.damped, off[..., None])[..., 0]
            varies = np.diagonal(gram, axis1=-2, axis2=-1) > 0
        V = np.where(folded.live[:, None] & varies, V, 0.0)
        return replace(
            folded, V=V, bias=wanted - (V * mean).sum(1), mean=np.broadcast_to(mean, V.shape),
            moments=moments,
        )  # fmt: skip

    def _moments(
        self, layer: SpikingLinear | SpikingConv2d, source: str, less: Less
    ) -> tuple[Array, Array, Array, Array]:
        """Mean of words (fan-in,), of potentials (outputs,); covariances: words, both."""
        depthwise = isinstance(layer, SpikingConv2d) and layer.conv.groups > 1
        sums: Sequence[Tensor | float] = ()
        generator = torch.Generator().manual_seed(0)
        count = 0
        for start in range(0, len(self.words[source]), _BATCH):
            part = slice(start, start + _BATCH)
            x = self._columns(layer, self.words[source][part].float())
            t = self._potentials(layer, part)
            for values, factor in less:
                scale = torch.from_numpy(factor).to(t.dtype).view(-1, *[1] * (t.ndim - 2))
                t = t - values[part].to(t.dtype) * scale
            t = t.flatten(2) if t.ndim > 2 else t[..., None]
            if x.shape[-1] > self.rows:
                pick = torch.randperm(x.shape[-1], generator=generator)[: self.rows]
                x, t = x[..., pick], t[..., pick]
            # (groups, fan-in, rows) and (groups, outputs of a group, rows)
            x, t = x.movedim(0, -2).flatten(-2), t.movedim(0, -2).flatten(-2).float()
            if depthwise:
                x, t = x.view(len(t), -1, x.shape[-1]), t[:, None]
            else:
                x, t = x[None], t[None]
            count += x.shape[-1]
            new = [x.sum(-1), t.sum(-1), x @ x.transpose(1, 2), t @ x.transpose(1, 2)]
            sums = [s + n.double() for s, n in zip(sums or (0.0,) * len(new), new, strict=True)]
        means = [s / count for s in sums]
        mean, wanted = means[0], means[1]
        gram = means[2] - mean[..., None] * mean[:, None]
        cross = means[3] - wanted[..., None] * mean[:, None]
        if depthwise:
            return mean.numpy(), wanted[:, 0].numpy(), gram.numpy(), cross[:, 0].numpy()
        return mean[0].numpy(), wanted[0].numpy(), gram[0].numpy(), cross[0].numpy()

    def _potentials(self, layer: SpikingLinear | SpikingConv2d, part: slice) -> Tensor:
        """What the layer's float twin, or original, has; where it is done already, what it gave."""
        if layer.name in self.twin:
            return self.twin[layer.name][part]
        given = [self.twin[name][part] for name in layer.sources]
        node = self.nodes.get(layer.name)
        if isinstance(node, Synaptic):
            return forward(replace(node, fires=False), given)
        return layer.potentials(*given)

    @staticmethod
    def _columns(layer: SpikingLinear | SpikingConv2d, words: Tensor) -> Tensor:
        """Words as (n, fan-in of all groups, positions)."""
        if isinstance(layer, SpikingLinear):
            return words.flatten(1)[..., None]
        conv = layer.conv
        return functional.unfold(
            words, conv.kernel_size, 1, cast(Pair, conv.padding), cast(Pair, conv.stride)
        )


def _nodes(snn: SpikingNetwork, original: nn.Module) -> dict[str, Node]:
    """Nodes of the model that a network was made from, by the names of its layers."""
    graph = fold(trace(original), snn.sample_shape)
    made = [(layer.name, tuple(layer.shape)) for layer in snn.spiking_layers]
    if made != [(node.name, tuple(node.shape)) for node in graph.nodes]:
        raise InputError(
            f"the original to reconstruct from, a {type(original).__name__}, has other layers than"
            " the network that is lowered: give the model that it was converted from"
        )
    return {node.name: node for node in graph.nodes}
