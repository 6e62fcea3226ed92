"""What all encoders share: input checks, per-channel parameters, and the choice of an engine.

An engine runs the recurrence over time: ``torch`` is the readable reference and runs anywhere;
``numba`` has the same bits and is hundreds of times as fast on a CPU; ``triton`` likewise on CUDA.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spikeloom.errors import InputError

__all__ = [
    "Engine",
    "as_floats",
    "as_tensor",
    "column",
    "engine",
    "engine_for",
    "reject_non_finite",
    "reject_options",
    "threaded",
]

Engine = Literal["auto", "torch", "numba", "triton"]

_engine: ContextVar[Engine] = ContextVar("engine", default="auto")

#: Samples below which a second thread costs more than it gives.
_WORTH_A_THREAD = 1 << 18


@contextlib.contextmanager
def engine(name: Engine) -> Iterator[None]:
    """Choose the engine inside a ``with`` block; InputError if it is unknown or not installed."""
    if name not in get_args(Engine):
        raise InputError(f"no engine {name!r}: one of {', '.join(get_args(Engine))}")
    if name in ("numba", "triton") and not installed(name):
        raise InputError(f"{name} is not installed: pip install 'spikeloom[fast]', or use 'torch'")
    token = _engine.set(name)
    try:
        yield
    finally:
        _engine.reset(token)


@cache
def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def engine_for(x: Tensor, *, triton: bool = False) -> str:
    """Engine for a tensor: as chosen, else numba on the CPU, triton (if there is one) on CUDA."""
    chosen = _engine.get()
    if chosen == "numba" and x.device.type != "cpu":
        raise InputError(f"numba runs on the CPU, not on {x.device}: use 'auto', or signal.cpu()")
    if chosen != "auto":
        return chosen
    if x.device.type == "cpu":
        return "numba" if installed("numba") else "torch"
    return "triton" if triton and x.device.type == "cuda" and installed("triton") else "torch"


def reject_options(cls: type, unknown: Collection[str]) -> None:
    """TypeError for options that no constructor of an encoder class knows, with those it does."""
    if not unknown:
        return
    known = dict[str, None]()
    for base in (c for c in cls.__mro__ if "__init__" in vars(c) and issubclass(c, nn.Module)):
        if base is nn.Module:
            break
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        known |= {p.name: None for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
    known.pop("parameters", None)  # what a subclass makes of its own options
    raise TypeError(
        f"{cls.__name__} has no option {', '.join(sorted(unknown))}: it takes {', '.join(known)}"
    )


def as_floats(x: Tensor | ArrayLike, what: str = "signal", *, empty: bool = False) -> Tensor:
    """Check that x is float32 or float64 with a time axis; InputError otherwise.

    empty: whether an axis may have no entries.
    """
    tensor = as_tensor(x, what)
    if tensor.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"a {what} must be float32 or float64, not {str(tensor.dtype).removeprefix('torch.')}:"
            f" convert it with .float()"
        )
    if tensor.ndim == 0:
        raise InputError(f"a {what} must have a time axis, its last; this one is a single number")
    if not empty and tensor.numel() == 0:
        raise InputError(f"the {what} is empty: its shape is {tuple(tensor.shape)}")
    return tensor


def as_tensor(x: Tensor | ArrayLike, what: str) -> Tensor:
    """Tensor of anything like an array; InputError where torch has no such type."""
    if isinstance(x, Tensor):
        return x
    try:
        array = np.asarray(x)
        # torch knows neither negative strides nor read-only memory
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        return torch.as_tensor(array)
    except (TypeError, ValueError) as error:
        raise InputError(f"a {what} must be an array of numbers: {error}") from None


def reject_non_finite(x: Tensor, what: str = "signal") -> None:
    """InputError that names the first NaN or infinity of x, if there is one."""
    flat = -1
    if engine_for(x) == "numba":
        from spikeloom.encoders.kernels.finite import find

        flat = find(x.detach().contiguous().numpy())
    else:
        finite = torch.isfinite(x.detach())
        if not bool(finite.all()):
            flat = int(torch.nonzero(~finite.reshape(-1))[0])
    if flat >= 0:
        raise non_finite(x, flat, what)


def non_finite(x: Tensor, flat: int, what: str = "signal") -> InputError:
    """Return the error for the sample at a flat index of x."""
    index = np.unravel_index(flat, tuple(x.shape))
    place = ", ".join(str(int(k)) for k in index)
    value = float(x.detach().reshape(-1)[flat])
    return InputError(f"{what}[{place}] is {value}: an encoder takes finite numbers only")


def column(
    name: str,
    value: float | Sequence[float] | Tensor,
    *,
    low: float = -math.inf,
    above: bool = True,
) -> Tensor:
    """Turn a parameter into float64 of shape () or (channels,).

    low: its bound, exclusive if ``above``. Raises InputError on NaN, a wrong shape, or a value out
    of range.
    """
    try:
        tensor = torch.as_tensor(value, dtype=torch.float64).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be one number, or one a channel, not {value!r}") from None
    if tensor.ndim > 1 or tensor.numel() == 0:
        raise InputError(
            f"{name} must be one number, or one for each channel, not of shape"
            f" {tuple(tensor.shape)}"
        )
    wrong = ~torch.isfinite(tensor) | ((tensor <= low) if above else (tensor < low))
    if bool(wrong.any()):
        bad = float(tensor.reshape(-1)[int(torch.nonzero(wrong.reshape(-1))[0])])
        bound = "" if low == -math.inf else f" {'>' if above else '>='} {low:g}"
        raise InputError(f"{name} must be a finite number{bound}, not {bad}")
    return tensor


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that wait for the next call: starting them costs as much as 10^5 samples."""
    return ThreadPoolExecutor(workers, thread_name_prefix="spikeloom")


def threaded(kernel: Any, arrays: Sequence[np.ndarray], *constants: Any) -> int:
    """Run a row kernel on all rows of ``arrays``, in threads where that pays.

    kernel(*arrays, *constants) works in place on arrays of the same first dimension and returns the
    flat index of the first sample that is not finite, or -1; so does this. It must release the GIL.
    """
    x = arrays[0]
    rows = x.shape[0]
    workers = min(rows, torch.get_num_threads(), x.size // _WORTH_A_THREAD)
    if workers < 2:
        return int(kernel(*arrays, *constants))
    cuts = [rows * k // workers for k in range(workers + 1)]
    jobs = [
        _pool(workers).submit(kernel, *(a[low:high] for a in arrays), *constants)
        for low, high in itertools.pairwise(cuts)
    ]
    bad = [int(job.result()) for job in jobs]
    per_row = x.size // rows
    return next((low * per_row + b for low, b in zip(cuts, bad, strict=False) if b >= 0), -1)
