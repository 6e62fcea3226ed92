"""What a conversion costs, layer by layer: ``diagnose``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeloom.conversion.integers import LayerReport
from spikeloom.conversion.lower import lowering_report
from spikeloom.conversion.outputs import Outputs, Scores, part_of, relative
from spikeloom.conversion.twins import Neuron, twins
from spikeloom.network import Network

__all__ = ["Diagnosis", "LayerDiagnosis", "diagnose", "shown"]


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer of neurons (or the words of an input) on some samples.

    Errors are root mean squares, relative to that of the ANN's activations in this layer;
    shares are 0..1.

    name: as in ``report()``. bits: T. thresholds: least and greatest real value of one LSB of
    the channels that fire. neurons: so many a sample. saturated: share of the ANN's activations
    that would round to more than the greatest word (of signed words: to less than the least,
    too). saturation: error of making words of the ANN's activations, of those alone; rounding:
    of all others, those of pruned channels among them, which give 0. error, cosine: of what the
    layer really gives in the spiking network, what came from the layers before included.
    spikes: mean set bits of a word. silent: share of words that are zero. pruned: channels that
    never fire, after lowering if it was given.

    contribution: share of the squared error at the output that goes away when this layer alone
    gives its unrounded values, each channel with the mean of its words (which the biases behind
    it were corrected for); below 0 where its rounding makes up for another layer's. The shares
    need not add up to 1. decisions: share of samples decided right then that are wrong now,
    less the reverse; right is the label, or else what the ANN decides; None where the output is
    no logits.

    lowered: what lowering did to the layer, if an integer network was given.
    """

    name: str
    bits: int
    thresholds: tuple[float, float]
    neurons: int
    saturated: float
    saturation: float
    rounding: float
    error: float
    cosine: float
    spikes: float
    silent: float
    pruned: int
    contribution: float
    decisions: float | None
    lowered: LayerReport | None = None

    @property
    def own(self) -> float:
        """Error of making words of the ANN's activations: saturation and rounding together."""
        return (self.saturation**2 + self.rounding**2) ** 0.5


@dataclass(frozen=True)
class Diagnosis:
    """Rows of all layers of neurons, in order, and the outputs.

    others: what lowering did to layers that do not fire, the readout among them.
    """

    layers: tuple[LayerDiagnosis, ...]
    outputs: Outputs
    others: tuple[LayerReport, ...] = ()

    def __str__(self) -> str:
        from spikeloom.study.diagnosis_table import plain_text

        return plain_text(self)


@dataclass
class _Sums:
    """Of one layer, over batches; what is divided in the end."""

    neuron: Neuron
    samples: int = 0
    count: int = 0
    beyond: int = 0
    saturation: float = 0.0
    rounding: float = 0.0
    error: float = 0.0
    ann: float = 0.0
    snn: float = 0.0
    product: float = 0.0
    spikes: int = 0
    silent: int = 0
    shift: Tensor | float = 0.0  #: sum over samples of the channels' means, unrounded less words

    def see_ann(self, a: Tensor) -> None:
        """Add the ANN's activations of a batch."""
        own = (self.neuron.values(a).double() - a.double()).square()
        beyond = self.neuron.beyond(a)
        self.saturation += float(own[beyond].sum())
        self.rounding += float(own[~beyond].sum())
        self.beyond += int(beyond.sum())
        self.ann += float(a.double().square().sum())

    def see(self, a: Tensor, v: Tensor, y: Tensor) -> None:
        """Add the ANN's activations of a batch, what the neurons are given, and what they give."""
        neuron = self.neuron
        words = neuron.words(y)
        a, y = a.double(), y.double()
        self.shift = self.shift + len(y) * neuron.mean(neuron.unrounded(v) - y)
        self.error += float((y - a).square().sum())
        self.snn += float(y.square().sum())
        self.product += float((y * a).sum())
        self.spikes += sum(int((words >> t & 1).sum()) for t in range(neuron.bits))
        self.silent += int((words == 0).sum())
        self.samples += len(y)
        self.count += y.numel()


@torch.no_grad()
def diagnose(
    model: nn.Module,
    snn: nn.Module,
    images: Any,
    labels: NDArray | Tensor | None = None,
    network: Network | None = None,
    *,
    samples: int = 256,
    batch: int = 32,
    progress: bool = False,
) -> Diagnosis:
    """Measure what each layer of a converted network loses, and what that costs at the output.

    model: the trained model; snn: what ``convert`` made of it, a SpikingNetwork or a
    GeneralSpikingNetwork (whose report has no pruned channels). images: as for ``convert``, best
    such as it was not calibrated on; so many ``samples`` of all over them are looked at, ``batch``
    at a time. labels: (n,) classes. network: of ``lower``, for what it did to the weights.
    progress: show a bar.

    The contribution of a layer is found by leaving it alone in float and running the whole network
    again: as many runs as there are layers. That answers what more bits in this layer would win,
    with all others as they are. The other way round, a model in which this layer alone is rounded,
    costs the same and answers less: biases behind it were corrected for what it gives, and a mean
    that nothing makes up for would hide all the rest.

    Raises InputError for a network that was not made of this model, for wrong samples or labels;
    ValueError on samples or batch below 1.
    """
    pair, truth = twins(model, snn, images, labels, samples=samples, batch=batch)
    base, sums = Scores(), [_Sums(neuron) for neuron in pair.neurons]
    anns: list[Tensor] = []
    for part in shown(pair.batches, "both networks", progress):
        ann, activations = pair.original(part)
        watching = []
        for each in sums:
            a = activations[each.neuron.value]
            each.see_ann(a)
            watching.append((each.neuron, _watching(each, a)))
        with _hooked(watching):
            out = pair.spiking(part)
        base.see(out, ann, part_of(truth, base.samples, ann), pair.classes)
        anns.append(ann)
    without = []
    for each in shown(sums, "each layer in float", progress):
        scores = Scores()
        with _hooked([(each.neuron, _in_float(each))]):
            for part, ann in zip(pair.batches, anns, strict=True):
                scores.see(
                    pair.spiking(part), ann, part_of(truth, scores.samples, ann), pair.classes
                )
        without.append(scores)
    lowered = {report.name: report for report in lowering_report(network)} if network else {}
    layers = tuple(
        _row(each, base, scores, pair.classes, lowered.pop(each.neuron.name, None))
        for each, scores in zip(sums, without, strict=True)
    )
    outputs = base.outputs(pair.classes, truth is not None)
    return Diagnosis(layers, outputs, tuple(lowered.values()))


def shown(what: Any, title: str, progress: bool) -> Any:
    """Go through a sequence, beside a bar if that is wanted."""
    from rich.progress import track

    return track(what, title, disable=not progress, transient=True)


@contextmanager
def _hooked(neurons: list[tuple[Neuron, Any]]) -> Iterator[None]:
    """Call a function (v, y) of what neurons are given and give; what it returns replaces y."""
    handles = [
        neuron.module.register_forward_hook(lambda _, given, y, call=call: call(given[0], y))
        for neuron, call in neurons
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watching(each: _Sums, a: Tensor) -> Any:
    return lambda v, y: each.see(a, v, y)


def _in_float(each: _Sums) -> Any:
    """Unrounded values, each channel with the mean of its words on all samples."""
    neuron, shift = each.neuron, each.shift / each.samples
    return lambda v, y: neuron.unrounded(v) - torch.as_tensor(shift).to(y.dtype)


def _row(
    each: _Sums, base: Scores, without: Scores, classes: bool, lowered: LayerReport | None
) -> LayerDiagnosis:
    neuron = each.neuron
    norm = (each.ann * each.snn) ** 0.5
    dead = 0 if neuron.alive is None else int((~neuron.alive).sum())
    return LayerDiagnosis(
        name=neuron.name,
        bits=neuron.bits,
        thresholds=neuron.thresholds,
        neurons=each.count // each.samples,
        saturated=each.beyond / each.count,
        saturation=relative(each.saturation, each.ann),
        rounding=relative(each.rounding, each.ann),
        error=relative(each.error, each.ann),
        cosine=each.product / norm if norm else 0.0,
        spikes=each.spikes / each.count,
        silent=each.silent / each.count,
        pruned=dead if lowered is None else lowered.pruned,
        contribution=1 - without.error / base.error if base.error else 0.0,
        decisions=(without.right - base.right) / base.samples if classes else None,
        lowered=lowered,
    )
