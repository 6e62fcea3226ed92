"""Modules of torch that hide weights, written out so that a trace sees every weighted operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikeloom.conversion.unsupported import UnsupportedError

__all__ = ["Attention", "Masked", "written_out"]


class Masked(nn.Module):
    """Scores of attention (n, heads, tokens, keys) under a mask.

    It is a module of its own because a trace does not know what the mask holds.
    """

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        """mask: true for keys that are not seen, or numbers to add; broadcast, or (n heads, ..)."""
        mask = mask.view_as(scores) if mask.ndim == 3 else mask
        return scores.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else scores + mask


class Attention(nn.Module):
    """nn.MultiheadAttention of the same weights: four Linears, and attention in float.

    Raises UnsupportedError for options that it has no form of.
    """

    def __init__(self, m: nn.MultiheadAttention) -> None:
        super().__init__()
        if m.bias_k is not None or m.add_zero_attn:
            raise UnsupportedError(
                "it adds keys of its own (add_bias_kv, add_zero_attn)", "leave these options out"
            )
        size, heads = m.embed_dim, m.num_heads
        self.heads, self.width, self.batch_first = heads, size // heads, m.batch_first
        if m.in_proj_weight is not None:
            weights = m.in_proj_weight.detach().chunk(3)
        else:
            weights = tuple(w.detach() for w in (m.q_proj_weight, m.k_proj_weight, m.v_proj_weight))
        biases = m.in_proj_bias.detach().chunk(3) if m.in_proj_bias is not None else (None,) * 3
        self.query, self.key, self.value = (
            linear(w, b) for w, b in zip(weights, biases, strict=True)
        )
        self.out_proj = linear(m.out_proj.weight.detach(), m.out_proj.bias)
        self.masked = Masked()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output and, if wanted, the attention weights, as torch's does."""
        if not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        q, k, v = self._split(self.query(query)), self.key(key), self.value(value)
        k, v = self._split(k), self._split(v)
        weights = torch.matmul(q, k.transpose(-2, -1)) * self.width**-0.5
        if attn_mask is not None:
            weights = self.masked(weights, attn_mask)
        if key_padding_mask is not None:
            weights = self.masked(weights, key_padding_mask[:, None, None, :])
        weights = torch.softmax(weights, -1)
        out = self.out_proj(torch.matmul(weights, v).transpose(1, 2).flatten(2))
        out = out if self.batch_first else out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, weights.mean(1) if average_attn_weights else weights

    def _split(self, x: Tensor) -> Tensor:
        """Cut (n, tokens, features) into heads: (n, heads, tokens, width)."""
        return x.unflatten(-1, (self.heads, self.width)).transpose(1, 2)


class _EncoderLayer(nn.Module):
    """nn.TransformerEncoderLayer at inference, in plain layers."""

    def __init__(self, m: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.self_attn = m.self_attn  # written out before, being a child
        self.linear1, self.linear2 = m.linear1, m.linear2
        self.norm1, self.norm2, self.norm_first = m.norm1, m.norm2, m.norm_first
        self.activation = m.activation

    def forward(
        self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, **_: Any
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask)[0]

        def feed(x: Tensor) -> Tensor:
            return self.linear2(self.activation(self.linear1(x)))

        if self.norm_first:
            x = src + attend(self.norm1(src))
            return x + feed(self.norm2(x))
        x = self.norm1(src + attend(src))
        return self.norm2(x + feed(x))


class _Encoder(nn.Module):
    """nn.TransformerEncoder at inference."""

    def __init__(self, m: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers, self.norm = m.layers, m.norm

    def forward(
        self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, **_: Any
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


_WRITTEN_OUT: dict[type[nn.Module], Any] = {
    nn.MultiheadAttention: Attention,
    nn.TransformerEncoderLayer: _EncoderLayer,
    nn.TransformerEncoder: _Encoder,
}


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Linear layer of given weights (out, in)."""
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias is not None, weight.device, weight.dtype)
    layer.weight = nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format))
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def written_out(root: nn.Module) -> list[str]:
    """Replace hidden weights in a model, in place; problems, 'path: reason; advice'."""
    problems = []
    for module in list(root.modules()):
        if parametrize.is_parametrized(module):
            _evaluated(module)
    # children first: an encoder holds layers, a layer holds attention
    for path, module in reversed(list(root.named_modules())):
        make = _WRITTEN_OUT.get(type(module))
        if make is None or not path:
            continue
        try:
            _replace(root, path, make(module))
        except UnsupportedError as problem:
            problems.append(f"{path}: {problem}")
    return problems


def _evaluated(module: nn.Module) -> None:
    """Make parametrised weights (weight_norm and the like) what they are worth at inference.

    torch's own removal changes the class, which the user's model shares.
    """
    names: list[str] = list(module.parametrizations)  # type: ignore[arg-type]
    values = {name: getattr(module, name).detach().clone() for name in names}
    module.__class__ = type(module).__bases__[0]
    del module._modules["parametrizations"]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))


def _replace(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)
