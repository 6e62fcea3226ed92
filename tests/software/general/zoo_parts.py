"""Layers that models of the zoo share."""

from __future__ import annotations

from torch import nn
from torch.nn import functional


def conv(a, b, k=3, s=1, g=1, act: nn.Module | None = None, **kw):
    layers = [nn.Conv2d(a, b, k, s, k // 2, groups=g, bias=False, **kw), nn.BatchNorm2d(b)]
    return nn.Sequential(*layers, *([act] if act else []))


def relu():
    return nn.ReLU(inplace=True)


class Head(nn.Sequential):
    def __init__(self, channels, classes=5):
        super().__init__(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(channels, classes)
        )


class Block(nn.Module):
    def __init__(self, a, b, stride=1):
        super().__init__()
        self.f = nn.Sequential(conv(a, b, s=stride, act=relu()), conv(b, b))
        self.short = conv(a, b, 1, stride) if stride > 1 or a != b else nn.Identity()
        self.act = relu()

    def forward(self, x):
        return self.act(self.f(x) + self.short(x))


class SqueezeExcite(nn.Module):
    def __init__(self, c, gate=nn.Hardsigmoid):
        super().__init__()
        self.down, self.up, self.gate = nn.Conv2d(c, c // 2, 1), nn.Conv2d(c // 2, c, 1), gate()

    def forward(self, x):
        w = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.up(functional.relu(self.down(w))))


class Inverted(nn.Module):
    def __init__(self, a, b, stride, act, squeeze=False, kernel=3):
        super().__init__()
        self.conv = nn.Sequential(
            conv(a, 2 * a, 1, act=act()), conv(2 * a, 2 * a, kernel, stride, 2 * a, act()),
            SqueezeExcite(2 * a) if squeeze else nn.Identity(), conv(2 * a, b, 1),
        )  # fmt: skip
        self.skip = stride == 1 and a == b

    def forward(self, x):
        return x + self.conv(x) if self.skip else self.conv(x)


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, d))
