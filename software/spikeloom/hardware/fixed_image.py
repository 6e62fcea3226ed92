"""Weights that are part of a bitstream: a memory image, checked and sorted by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spikeloom.hardware.memory_image import Column, Kind, columns, image_crc
from spikeloom.hardware.parameters import NetworkParameters

__all__ = ["Image", "LayerContents", "fixed_crc", "layer_contents", "words_of"]

#: Every column of a device with its words, as ``memory_image`` gives them.
Image = Sequence[tuple[Column, np.ndarray]]

#: The words of one layer's memories, a row each, by kind and column.
LayerContents = Mapping[tuple[Kind, int], Sequence[int]]


def _name(layer: int, kind: int, column: int) -> str:
    return f"layer {layer}, {Kind(kind).name.lower()} column {column}"


def layer_contents(parameters: NetworkParameters, image: Image) -> tuple[LayerContents, ...]:
    """Return what each layer's memories hold from the start.

    Raises ValueError, one line, unless the image has every column of these parameters once, with
    all of its rows and no word too wide; and for a layer whose weights lie in SPRAM, which cannot
    hold anything from the start.
    """
    for k, layer in enumerate(parameters.layers):
        if layer.folding.weight_memory == "spram" and k in parameters.synapse_layers:
            raise ValueError(
                f"layer {k}: fixed weights cannot lie in SPRAM, which powers up random: fold it"
                " with weight_memory 'block' or 'distributed'"
            )
    given: dict[tuple[int, int, int], Sequence[int]] = {}
    for column, words in image:
        key = column.layer, int(column.kind), column.column
        if key in given:
            raise ValueError(f"the image has {_name(*key)} twice")
        given[key] = [int(word) for word in words]
    contents: tuple[dict[tuple[Kind, int], Sequence[int]], ...]
    contents = tuple({} for _ in parameters.layers)
    for column in columns(parameters):
        key = column.layer, int(column.kind), column.column
        if key not in given:
            raise ValueError(f"the image has no {_name(*key)}: make it with memory_image")
        words = given.pop(key)
        if len(words) != column.rows:
            raise ValueError(
                f"the image has {len(words)} rows of {_name(*key)}, the memory {column.rows}"
            )
        for row, word in enumerate(words):
            if not 0 <= word < 1 << column.bits:
                raise ValueError(
                    f"the image has the word {word} in row {row} of {_name(*key)}: a word there has"
                    f" {column.bits} bits"
                )
        contents[column.layer][column.kind, column.column] = words
    if given:
        raise ValueError(f"the image has {_name(*next(iter(given)))}, the device has none")
    return contents


def fixed_crc(image: Image) -> int:
    """Return the CRC-32 that a device tells of an image, whatever the order of its columns."""
    return image_crc(sorted(image, key=lambda entry: entry[0].address))


def words_of(
    contents: LayerContents | None, kind: Kind, chosen: Sequence[int]
) -> list[Sequence[int]] | None:
    """Return the words of some columns of a layer; None where they are loaded at run time."""
    return None if contents is None else [contents[kind, c] for c in chosen]
