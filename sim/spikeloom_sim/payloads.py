"""Payloads of a stream as arrays: fields of an Amaranth layout to packed 32-bit words, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import ArrayLike, NDArray
from spikeloom.errors import InputError

__all__ = ["PayloadLayout"]


class PayloadLayout:
    """Packs fields of a struct layout, all payloads at once.

    A payload is ``words`` 32-bit words, low words first, as a Verilated port is copied. Fields have
    at most 63 bits; signed ones are negative integers in two's complement.
    """

    def __init__(self, layout: data.StructLayout):
        self.bits = layout.size
        self.words = max(2, -(-self.bits // 32))
        self.fields: dict[str, tuple[int, int, bool]] = {}
        members: Iterable[tuple[Any, data.Field]] = layout  # pyright: ignore[reportAssignmentType]
        for name, field in members:
            shape = Shape.cast(field.shape)
            if isinstance(field.shape, data.Layout) or shape.width > 63:
                raise InputError(f"field {name} is no integer of at most 63 bits")
            self.fields[str(name)] = (field.offset, shape.width, shape.signed)

    def pack(
        self, fields: Mapping[str, ArrayLike], *, count: int | None = None
    ) -> NDArray[np.uint32]:
        """Return uint32 (n, words) of fields (n,), or single numbers; missing fields are zero.

        count: n, if no field gives it. Raises InputError for an unknown field, different lengths,
        or a value that does not fit, with its position.
        """
        if unknown := sorted(set(fields) - set(self.fields)):
            raise InputError(f"no field {', '.join(unknown)}: there are {', '.join(self.fields)}")
        arrays = {name: np.asarray(value) for name, value in fields.items()}
        lengths = {len(a) for a in arrays.values() if a.ndim} | ({count} if count else set())
        if len(lengths) > 1 or any(a.ndim > 1 for a in arrays.values()):
            shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
            raise InputError(f"fields must be of one length, or single numbers, not {shapes}")
        size = lengths.pop() if lengths else int(count is None)
        packed = np.zeros((size, self.words), dtype=np.uint32)
        for name, array in arrays.items():
            offset, width, signed = self.fields[name]
            if array.dtype.kind not in "iub":
                raise InputError(f"field {name} must be integers, not {array.dtype}")
            value = np.broadcast_to(array.astype(np.int64), (size,))
            low, high = (
                (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, 2**width - 1)
            )
            if wrong := np.flatnonzero((value < low) | (value > high))[:1].tolist():
                raise InputError(
                    f"{name} {value[wrong[0]]} of payload {wrong[0]} is outside {low}..{high}"
                )
            bits = value.astype(np.uint64) & np.uint64((1 << width) - 1)
            for word in range(offset // 32, (offset + width - 1) // 32 + 1):
                packed[:, word] |= _shift(bits, offset - 32 * word).astype(np.uint32)
        return packed

    def unpack(self, words: NDArray[np.uint32]) -> dict[str, NDArray[np.int64]]:
        """Return fields, int64 (n,), of words: uint32 (n, words) or flat."""
        rows = words.reshape(-1, self.words).astype(np.uint64)
        result = {}
        for name, (offset, width, signed) in self.fields.items():
            bits = np.zeros(len(rows), dtype=np.uint64)
            for word in range(offset // 32, (offset + width - 1) // 32 + 1):
                bits |= _shift(rows[:, word], 32 * word - offset)
            value = (bits & np.uint64((1 << width) - 1)).astype(np.int64)
            result[name] = value - ((value >> (width - 1)) << width) if signed else value
        return result


def _shift(bits: NDArray[np.uint64], left: int) -> NDArray[np.uint64]:
    """Shift to the left, or with a negative number to the right; what leaves 64 bits is lost."""
    amount = np.uint64(abs(left))
    return bits << amount if left >= 0 else bits >> amount
