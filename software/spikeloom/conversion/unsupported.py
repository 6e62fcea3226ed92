"""What to do instead of an operation that has no spiking form."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from spikeloom.errors import UnsupportedModelError

__all__ = ["DEFAULT_ADVICE", "UnsupportedError", "advice", "never_fires", "where_it_stopped"]

#: What to do about layers people are likely to have. Matched by class name.
_ADVICE = {
    "Softmax": "drop it: the largest logit is the same without it",
    "LogSoftmax": "drop it: the largest logit is the same without it",
    "Sigmoid": "drop it after the last layer; between layers train with nn.ReLU",
    "GELU": "train with nn.ReLU",
    "SiLU": "train with nn.ReLU",
    "Tanh": "train with nn.ReLU",
    "LeakyReLU": "train with nn.ReLU",
    "ELU": "train with nn.ReLU",
    "LayerNorm": "use nn.BatchNorm1d or nn.BatchNorm2d, which fold into the weights",
    "GroupNorm": "use nn.BatchNorm2d, which folds into the weights",
    "ConvTranspose2d": "use nn.Conv2d",
}
DEFAULT_ADVICE = (
    "supported are Linear, Conv1d/2d, ReLU, ReLU6, BatchNorm1d/2d, max, average and adaptive"
    " pools, zero pads, Flatten, a + b, Dropout, Identity, Sequential and"
    " spikeloom.conversion.Normalise in front"
)


class UnsupportedError(Exception):
    """A reason, and what to do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; {advice}")


def advice(kind: str) -> str:
    """What to do about a layer, by the name of its class."""
    return _ADVICE.get(kind, DEFAULT_ADVICE)


def where_it_stopped(error: Exception) -> str:
    """Line of the user's own code that an error came from, and what it says; one line."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    ours = (Path(torch.__file__).parent, Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if not any(path.is_relative_to(folder) for folder in ours):
            shown = f", {frame.line!r}" if frame.line else ""
            return f"{path.name}, line {frame.lineno}{shown}: {said}"
    return said


def never_fires(model: str, layers: Sequence[str]) -> UnsupportedModelError:
    """Return the refusal of a model in which nothing spikes."""
    return UnsupportedModelError(
        f"{model}: activations of {', '.join(layers)} are never positive on the calibration data,"
        " and the output never changes: train it, or calibrate on data like that it was trained on"
    )
