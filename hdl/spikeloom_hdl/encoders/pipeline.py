"""Registers that advance together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Shape, Signal, Value

__all__ = ["MARKS", "Pipeline"]

MARKS = ("channel", "first", "last")  #: what every payload of an encoder core has


class Pipeline:
    """Stages of one transfer each, which all move together in a cycle with ``advance`` = 1.

    valid, marks: of the transfer in the newest stage; marks are channel, ``first`` and ``last``.
    stages: how many there are.
    """

    def __init__(self, m: Module, advance: Value, *, valid: Any, marks: Mapping[str, Any]):
        self._m, self._advance = m, advance
        self.valid = valid
        self.marks = dict(marks)
        self.stages = 0

    def stage(self, **values: Any) -> list[Any]:
        """Begin the next stage; return registers of the values, in order: signals, lists, dicts."""
        self.stages += 1
        valid = Signal(name=f"valid_{self.stages}")
        with self._m.If(self._advance):
            self._m.d.sync += valid.eq(self.valid)
        self.valid = valid
        self.marks = {name: self._register(mark, name) for name, mark in self.marks.items()}
        return [self._register(value, name) for name, value in values.items()]

    def _register(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {k: self._register(v, f"{name}_{k}") for k, v in value.items()}
        if isinstance(value, list):
            return [self._register(v, f"{name}_{k}") for k, v in enumerate(value)]
        register = Signal(Shape.cast(value.shape()), name=f"{name}_{self.stages}", reset_less=True)
        with self._m.If(self._advance):
            self._m.d.sync += register.eq(value)
        return register
