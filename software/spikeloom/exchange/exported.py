"""Programs of torch.export (.pt2) in: a module that ``spikeloom.convert`` follows."""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from spikeloom.errors import InputError
from spikeloom.exchange.exported_rewrite import rewrite_exported

__all__ = ["load_exported"]

#: Files of plain tensors; other constants are pickled objects.
_TENSOR = re.compile(r"(weight|tensor)_\d+")
#: Names in expressions of sizes, which torch gives to eval: symbols (s0, u1) and sympy's functions.
_NAME = re.compile(r"[a-z]{1,5}\d+|[A-Z][A-Za-z]*")
#: How a symbol is written: Symbol('s0', positive=True, integer=True).
_SYMBOL = re.compile(r"Symbol\('\w+'(, [a-z_]+=(True|False))*\)")


def load_exported(path: str | os.PathLike[str]) -> nn.Module:
    """Read a program that torch.export.save wrote, as a module in eval mode.

    Nothing in it is unpickled but tensors; compiled code, pickled objects and expressions that are
    no arithmetic of sizes are refused before torch reads the file.

    Raises InputError, one line, for anything but such a program.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        found = _not_data(path)
    except (zipfile.BadZipFile, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no program of torch.export: {_line(error)}") from None
    if found:
        raise InputError(f"{path} holds {found}: write a plain model with torch.export.save")
    try:
        with _tensors_only():
            module = torch.export.load(path).module(check_guards=False)
    except Exception as error:  # torch raises all sorts of errors on what it cannot read
        raise InputError(f"{path} is no program of torch.export: {_line(error)}") from error
    assert isinstance(module, fx.GraphModule)
    return rewrite_exported(module).eval()


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _not_data(path: Path) -> str:
    """What in a file would run as code when torch reads it; empty if nothing does."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "aotinductor" in name or name.endswith((".so", ".o", ".cpp")):
                return f"compiled code ({name})"
            if name.endswith(".json"):
                content = json.loads(archive.read(name))
                for key, value in _entries(content):
                    if key == "path_name" and not _TENSOR.fullmatch(str(value)):
                        return f"a pickled object ({value})"
                    if key == "expr_str" and not _arithmetic(str(value)):
                        return f"an expression that is no size ({value[:40]!r})"
    return ""


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values in a JSON document."""
    if isinstance(content, dict):
        yield from content.items()
    for value in content.values() if isinstance(content, dict) else content:
        if isinstance(value, (dict, list)):
            yield from _entries(value)


def _arithmetic(text: str) -> bool:
    text = _SYMBOL.sub("0", text)
    names = re.findall(r"[^\W\d]\w*", text)
    plain = re.fullmatch(r"[\w\s+\-*/%(),<>=&|~]*", text)
    return plain is not None and all(_NAME.fullmatch(name) for name in names)


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Let torch.load, which torch.export.load calls, unpickle nothing but tensors."""
    load, log = torch.load, logging.getLogger("torch.export")
    level = log.level

    def safe(*args: Any, **kwargs: Any) -> Any:
        return load(*args, **{**kwargs, "weights_only": True})

    torch.load = safe  # type: ignore[assignment]
    log.setLevel(logging.CRITICAL)  # it logs a traceback and then raises
    try:
        yield
    finally:
        torch.load = load
        log.setLevel(level)
