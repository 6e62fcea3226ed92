"""What two networks give, compared: the original model and its spiking twin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeloom.conversion.twins import Twins

__all__ = ["Outputs", "Scores", "compare", "part_of", "relative"]


@dataclass(frozen=True)
class Outputs:
    """Outputs of a spiking network beside the ANN's. samples: so many.

    error: relative root mean square. cosine: mean over samples. agreement: share of samples that
    both decide alike, None where the output is no logits. accuracy, ann_accuracy: shares, None
    without labels.
    """

    samples: int
    error: float
    cosine: float
    agreement: float | None
    accuracy: float | None
    ann_accuracy: float | None


def relative(square: float, norm: float) -> float:
    """Root of a sum of squares over another; infinite where only the latter is 0."""
    if square <= 0:
        return 0.0
    return (square / norm) ** 0.5 if norm else float("inf")


@dataclass
class Scores:
    """Of the outputs of one variant of the network, over batches."""

    error: float = 0.0
    norm: float = 0.0
    cosine: float = 0.0
    samples: int = 0
    alike: int = 0
    right: int = 0
    ann_right: int = 0

    def see(self, out: Tensor, ann: Tensor, truth: Tensor | None, classes: bool) -> None:
        """Add a batch of outputs, rows; truth: labels, None to take the ANN's decisions."""
        out, ann = out.double().cpu(), ann.double().cpu()
        self.error += float((out - ann).square().sum())
        self.norm += float(ann.square().sum())
        self.cosine += float(nn.functional.cosine_similarity(out, ann).sum())
        self.samples += len(out)
        if classes:
            decided, wanted = out.argmax(1), ann.argmax(1)
            truth = wanted if truth is None else truth
            self.alike += int((decided == wanted).sum())
            self.right += int((decided == truth).sum())
            self.ann_right += int((wanted == truth).sum())

    def outputs(self, classes: bool, labelled: bool) -> Outputs:
        """Divide."""
        n = self.samples
        return Outputs(
            n,
            relative(self.error, self.norm),
            self.cosine / n,
            self.alike / n if classes else None,
            self.right / n if labelled else None,
            self.ann_right / n if labelled else None,
        )


@torch.no_grad()
def compare(
    pair: Twins, truth: Tensor | None, known: list[Tensor] | None = None
) -> tuple[Outputs, list[Tensor]]:
    """Outputs of both, and the ANN's a batch; ``known``: the latter from an earlier comparison."""
    scores, found = Scores(), []
    for index, part in enumerate(pair.batches):
        ann = pair.original(part)[0] if known is None else known[index]
        found.append(ann)
        scores.see(pair.spiking(part), ann, part_of(truth, scores.samples, ann), pair.classes)
    return scores.outputs(pair.classes, truth is not None), found


def part_of(truth: Tensor | None, start: int, like: Tensor) -> Tensor | None:
    """Labels of a batch that begins at a sample."""
    return None if truth is None else truth[start : start + len(like)]
