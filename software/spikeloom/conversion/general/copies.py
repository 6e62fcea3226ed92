"""The copy of a model that conversion works on, and the check that it was read as it is."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from spikeloom.conversion.general.tree import leaves, transform
from spikeloom.errors import UnsupportedModelError

__all__ = ["check_reading", "inference_copy", "unwrapped", "warn_of_training_mode"]

#: Hooks of torch that compute a weight before each call.
_WEIGHT_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)
#: Modules that give something else in training.
_MODAL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
#: Largest difference, relative to the largest output, that rounding explains; of half floats.
_TOLERANCE, _HALF_TOLERANCE = 0.01, 0.1


def unwrapped(model: Any) -> nn.Module:
    """Return a model without what torch.compile and DataParallel put around it.

    Raises UnsupportedModelError for what is no module with weights that can be followed.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch.nn.Module, not {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "a TorchScript model cannot be followed: give the nn.Module that it was made of"
        )
    inside: Any = getattr(model, "_orig_mod", model)
    inside = inside.module if isinstance(inside, nn.DataParallel) else inside
    for path, t in [*inside.named_parameters(), *inside.named_buffers()]:
        if nn.parameter.is_lazy(t):
            raise UnsupportedModelError(
                f"{path}: lazy, without a shape yet; run one batch through the model first"
            )
        if t.is_meta:
            raise UnsupportedModelError(
                f"{path}: on the device meta, without values; load the weights first"
            )
    return inside


def warn_of_training_mode(model: nn.Module) -> None:
    """Warn, in one line, where a model gives other outputs than it is converted to give."""
    if any(m.training and isinstance(m, _MODAL) for m in model.modules()):
        warnings.warn(
            f"{type(model).__name__} is in training mode, it is converted as at inference: compare"
            " with model.eval()",
            UserWarning,
            stacklevel=4,
        )


def _copied(model: nn.Module) -> nn.Module:
    """Deep copy in eval mode, hooks included."""
    # weights that hooks compute hang on the parameters that they come from; torch copies no such
    memo = {
        id(t): t.detach().clone()
        for m in model.modules()
        for t in vars(m).values()
        if isinstance(t, Tensor) and not t.is_leaf
    }
    try:
        return copy.deepcopy(model, memo).eval()
    except Exception as error:  # attributes of the user's may be anything
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be copied ({str(error).splitlines()[0]}): keep nothing"
            " but parameters, buffers and plain values in it"
        ) from error


@torch.no_grad()
def inference_copy(model: nn.Module) -> nn.Module:
    """Copy a model, at inference: unwrapped, weights plain, no hooks on torch's own layers.

    Weights that torch's older weight_norm, spectral_norm and prune compute become what they are
    worth. Raises UnsupportedModelError for what cannot be copied.
    """
    root = _copied(unwrapped(model))
    for module in root.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, _WEIGHT_HOOKS):
                _plain_weight(module, hook)
                del module._forward_pre_hooks[key]
        if _opaque(module):
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
    return root


def _plain_weight(module: nn.Module, hook: Any) -> None:
    hook(module, None)
    name = hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name
    value = getattr(module, name).detach().clone()
    delattr(module, name)
    for suffix in ("_g", "_v", "_u", "_orig", "_mask"):
        module._parameters.pop(name + suffix, None)
        module._buffers.pop(name + suffix, None)
    module.register_parameter(name, nn.Parameter(value))


def _opaque(module: nn.Module) -> bool:
    """Whether torch.fx takes a module as a whole, without what hooks do."""
    return type(module).__module__.startswith("torch.nn") and type(module) is not nn.Sequential


@torch.no_grad()
def check_reading(model: nn.Module, samples: tuple[Any, ...], found: Any) -> None:
    """Compare what was read of a model with the model itself, on a few samples.

    samples: arguments, which the model gets in its own dtype, on its device; found: outputs, a tree
    of tensors. A model that does not take the samples is not judged here.

    Raises UnsupportedModelError where outputs differ, or are NaN.
    """
    original, name = _copied(model), type(model).__name__
    numbers = (t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point())
    like = next(numbers, None)
    if like is not None:
        samples = transform(samples, lambda x: x.to(like) if x.is_floating_point() else x)
    exact = _outputs(original, samples)
    if exact is None:
        return
    if any(bool(t.isnan().any()) for t in exact):
        raise UnsupportedModelError(
            f"{name}: its outputs are NaN on the calibration data; train the model again"
        )
    given = [t for _, t in leaves(found)]
    if _same(given, exact):
        return
    again = _outputs(original, samples)
    hooked = [
        path or name
        for path, m in model.named_modules()
        if (m._forward_hooks or m._forward_pre_hooks) and (_opaque(m) or m is model)
    ]
    if again is None or not _same(again, exact):
        why = "its outputs differ from run to run; use no random numbers and no state at inference"
    elif hooked:
        why = f"hooks on {', '.join(hooked)} change what they give; write that into forward"
    else:
        why = (
            "its layers, in order, give other outputs than it does; compute everything in forward"
            " from the inputs, parameters and buffers, with torch's operations"
        )
    raise UnsupportedModelError(f"{name} cannot be converted: {why}")


def _outputs(model: nn.Module, samples: tuple[Any, ...]) -> list[Tensor] | None:
    try:
        return [t for _, t in leaves(model(*transform(samples, torch.clone)))]
    except Exception:  # torch's operations raise anything; conversion says what is wrong
        return None


def _same(found: list[Tensor], exact: list[Tensor]) -> bool:
    if [tuple(t.shape) for t in found] != [tuple(t.shape) for t in exact]:
        return False
    for a, b in zip(found, exact, strict=True):
        tolerance = _HALF_TOLERANCE if b.dtype.itemsize < 4 else _TOLERANCE
        a, b = a.to("cpu", torch.float64), b.to("cpu", torch.float64)
        off = torch.where(a == b, 0.0, (a - b).abs())
        size = b[b.isfinite()].abs().max() if bool(b.isfinite().any()) else 0.0
        if off.numel() and not bool((off <= tolerance * size).all()):
            return False
    return True
