"""The float spiking network that a general conversion gives."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.conversion.general.report import GeneralReport
from spikeloom.conversion.general.tree import leaves, transform
from spikeloom.errors import InputError

__all__ = ["GeneralSpikingNetwork", "prepared"]


def prepared(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Tensor as the network takes it: uint8 pixels / 255, floats in the weights' dtype."""
    if x.dtype == torch.uint8:
        return x.to(dtype) / 255
    return x.to(dtype) if x.is_floating_point() else x


class GeneralSpikingNetwork(nn.Module):
    """The spiking twin of a model that has no integer form (yet): every weight reads packed words.

    Takes what the model takes (uint8 pixels are divided by 255) and gives what it gives.
    ``report()`` states the bits of every edge; ``integer_problems`` is what keeps the model off a
    board, one line each: ``lower`` refuses with this list.
    """

    def __init__(
        self,
        body: fx.GraphModule,
        argument_names: tuple[str, ...],
        samples: tuple[Any, ...],
        integer_problems: tuple[str, ...],
        report: GeneralReport,
        name: str,
    ) -> None:
        super().__init__()
        self.body = body
        self.argument_names = argument_names
        self.integer_problems = integer_problems
        self.name = name
        self._report = report
        self._ranks = [(where, x.ndim, tuple(x.shape)) for where, x in leaves(samples)]
        floats = [t for t in (*body.parameters(), *body.buffers()) if t.is_floating_point()]
        self._dtype = floats[0].dtype if floats else torch.get_default_dtype()

    def report(self) -> GeneralReport:
        """Bits, thresholds and error of every edge, as measured in calibration."""
        return self._report

    def extra_repr(self) -> str:
        """What it is, for ``print(model)``."""
        return (
            f"{self.name}: float spiking network, not for gates:"
            f" {len(self.integer_problems)} reason(s) in integer_problems"
        )

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the model returns; InputError for inputs of another number or shape."""
        given = self._bound(inputs, named)
        given = transform(given, lambda x: prepared(x, self._dtype))
        ranks = list(leaves(given))
        if [w for w, _ in ranks] != [w for w, *_ in self._ranks]:
            raise InputError(
                f"the network takes {len(self._ranks)} tensor(s) in"
                f" {', '.join(self.argument_names)}, it is given {len(ranks)}"
            )
        if len(ranks) == 1:
            given, ranks = self._with_channel(given, ranks)
        for (where, x), (_, ndim, shape) in zip(ranks, self._ranks, strict=True):
            channels = ndim > 1 and x.is_floating_point()  # indices have none, but a length
            if x.ndim != ndim or (channels and x.shape[1] != shape[1]):
                raise InputError(
                    f"input {where or '0'} has shape {tuple(x.shape)}, the network was calibrated"
                    f" on (n, {', '.join(map(str, shape[1:]))})"
                )
        return self.body(*given)

    def _bound(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        parameters = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in self.argument_names
        ]
        try:
            return inspect.Signature(parameters).bind(*inputs, **named).args
        except TypeError as error:
            raise InputError(
                f"the network takes {', '.join(self.argument_names)}: {error}"
            ) from error

    def _with_channel(self, given: Any, ranks: Any) -> tuple[Any, Any]:
        """Images of one channel may come without that axis, as in convert."""
        (_, ndim, shape), (_, x) = self._ranks[0], ranks[0]
        if ndim == 4 and shape[1] == 1 and x.ndim == 3:
            given = transform(given, lambda t: t.unsqueeze(1))
        return given, list(leaves(given))
