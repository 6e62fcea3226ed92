"""Frozen dataclasses of small integers as bytes, and as the 32-bit words of a register block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_type_hints

__all__ = ["bytes_to_words", "pack_fields", "unpack_fields", "words_to_bytes"]


def _number(value: int) -> bytes:
    """Zigzag, then seven bits a byte, low first: small numbers of either sign take one byte."""
    value = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_number(data: Iterator[int]) -> int:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return -((value + 1) >> 1) if value & 1 else value >> 1
    raise ValueError("the description is cut short")


def _signs(item: Any) -> dict[str, str]:
    """Flags of a dataclass that are the sign of a number before them: number -> flag."""
    marked = ((f.metadata.get("sign_of"), f.name) for f in dataclasses.fields(item))
    return {number: flag for number, flag in marked if number is not None}


def pack_fields(item: Any) -> bytes:
    """Pack a frozen dataclass of integers, choices (Literal) and such dataclasses.

    A flag with the metadata ``sign_of`` takes no place: it is the sign of that number, >= 1, which
    stands before it.
    """
    hints, signs, out = get_type_hints(type(item)), _signs(item), b""
    for f in dataclasses.fields(item):
        value, hint = getattr(item, f.name), hints[f.name]
        if f.name in signs.values():
            continue
        if dataclasses.is_dataclass(hint):
            out += pack_fields(value)
        elif hint in (int, bool):
            negative = f.name in signs and getattr(item, signs[f.name])
            out += _number(-value if negative else int(value))
        else:
            out += _number(get_args(hint).index(value))
    return out


def unpack_fields(cls: type, data: Iterator[int]) -> Any:
    """Take :func:`pack_fields` of ``cls`` off a stream of bytes; ValueError if it is not there."""
    hints, signs, values = get_type_hints(cls), _signs(cls), {}
    for f in dataclasses.fields(cls):
        hint = hints[f.name]
        if f.name in signs.values():
            continue
        if dataclasses.is_dataclass(hint):
            values[f.name] = unpack_fields(hint, data)  # type: ignore[arg-type]
        elif hint in (int, bool):
            values[f.name] = hint(_read_number(data))
            if f.name in signs and values[f.name] < 0:
                values[f.name], values[signs[f.name]] = -values[f.name], True
        else:
            index, choices = _read_number(data), get_args(hint)
            if not 0 <= index < len(choices):
                raise ValueError(f"{f.name} {index} is no known choice")
            values[f.name] = choices[index]
    return cls(**values)


def bytes_to_words(data: bytes) -> tuple[int, ...]:
    """Lay bytes into 32-bit words, little endian, padded with zeros."""
    data += bytes(-len(data) % 4)
    return tuple(int.from_bytes(data[k : k + 4], "little") for k in range(0, len(data), 4))


def words_to_bytes(words: Sequence[int]) -> bytes:
    """Undo :func:`bytes_to_words`; the padding stays."""
    return b"".join(word.to_bytes(4, "little") for word in words)
