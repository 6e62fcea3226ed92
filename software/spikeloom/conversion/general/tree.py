"""Tensors in tuples, lists and dicts: what models take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

__all__ = ["leaves", "transform"]


def transform(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """Apply a function to every tensor; the rest stays."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: transform(value, change) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named tuple
        return type(tree)(*(transform(value, change) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(transform(value, change) for value in tree)
    return tree


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors with where they are: '', 'boxes', 'boxes.0'."""
    if isinstance(tree, Tensor):
        yield name, tree
        return
    if isinstance(tree, dict):
        parts = tree.items()
    elif isinstance(tree, (tuple, list)):
        parts = enumerate(tree)
    else:
        return
    for key, value in parts:
        yield from leaves(value, f"{name}.{key}" if name else str(key))
