"""Networks that classify pictures, as they are usually written."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from zoo_parts import Block, Head, Inverted, conv, relu


class VGG(nn.Module):
    """Dilated and strided convolutions, ReLU6, ceil_mode, a functional head."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 8, act=nn.ReLU6(inplace=True)),
            nn.Conv2d(8, 12, 3, padding=2, dilation=2, padding_mode="reflect"), relu(),
            nn.MaxPool2d(3, 2, ceil_mode=True), conv(12, 12, act=nn.Hardtanh(0, 4)),
            nn.AvgPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(12 * 4 * 4, 16), relu(), nn.Linear(16, 5))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class ResNet(nn.Module):
    """Residual sums that are not activated before the pool, and one convolution of words."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = conv(3, 8, act=relu()), Block(8, 8), Block(8, 12, 2)
        self.last, self.head = conv(12, 12), Head(12)

    def forward(self, x):
        x = self.b(self.a(self.stem(x)))
        x = self.last(x) + x
        return self.head(functional.relu6(self.last(x)))


class PreActivation(nn.Module):
    """Batch norm and ReLU in front of convolutions; the sum runs on unactivated."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8) for _ in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)])
        self.head = Head(8)

    def forward(self, x):
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.convs, strict=False):
            x = x + layer(torch.relu(norm(x)))
        return self.head(torch.relu(self.norms[2](x)))


class MobileNetV2(nn.Module):
    """Linear bottlenecks, and the input normalised inside, by buffers."""

    def __init__(self, act=lambda: nn.ReLU6(inplace=True), squeeze=False, kernel=3):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.48, 0.45, 0.4]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.22, 0.23, 0.22]).view(1, 3, 1, 1))
        self.features = nn.Sequential(
            conv(3, 8, 3, 2, act=act()), Inverted(8, 8, 1, act, squeeze),
            Inverted(8, 12, 2, act, squeeze, kernel), Inverted(12, 12, 1, act, squeeze),
            conv(12, 24, 1, act=act()),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, 5))

    def forward(self, x):
        x = self.features((x - self.mean) / self.std)
        return self.classifier(functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


class Shared(nn.Module):
    """One convolution at three places, a batch norm behind one of them, one ReLU everywhere."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.act, self.head = nn.BatchNorm2d(6), nn.ReLU(inplace=True), Head(6)

    def forward(self, x):
        x = self.act(self.stem(x))
        x = self.act(self.norm(self.conv(x)))
        y = self.act(self.conv(x))
        return self.head(self.act(self.conv(y) + x))


class DenseNet(nn.Module):
    """Concatenation, then batch norm and ReLU in front of every convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8 + 4 * i) for i in range(4)])
        self.convs = nn.ModuleList([nn.Conv2d(8 + 4 * i, 4, 3, padding=1) for i in range(3)])
        self.head = Head(20)

    def forward(self, x):
        parts = [self.stem(x)]
        for norm, layer in zip(self.norms, self.convs, strict=False):
            parts.append(layer(functional.relu(norm(torch.cat(parts, 1)))))
        return self.head(functional.relu(self.norms[3](torch.cat(parts, 1))))


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8, act=relu())
        self.a, self.b = conv(8, 4, 1, act=relu()), conv(8, 4, 5, act=nn.ReLU6())
        self.c, self.head = conv(8, 4, 3, act=relu()), Head(16)

    def forward(self, x):
        x = self.stem(x)
        pooled = functional.avg_pool2d(x, 3, stride=1, padding=1)
        parts = [self.a(x), self.b(x), self.c(pooled), self.a(functional.max_pool2d(x, 3, 1, 1))]
        return self.head(torch.cat(parts, dim=1))


class ShuffleNet(nn.Module):
    """Split, shuffle by view and transpose, grouped convolutions."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8, s=2, act=relu())
        self.branch = nn.Sequential(
            conv(4, 4, 1, act=relu()), conv(4, 4, 3, g=4), conv(4, 4, 1, act=relu())
        )
        self.group, self.head = conv(8, 12, 3, g=2, act=nn.SiLU(inplace=True)), Head(12)

    def forward(self, x):
        a, b = self.stem(x).chunk(2, dim=1)
        x = torch.cat([a, self.branch(b)], dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.head(self.group(x))


class InPlace(nn.Module):
    """Overwritten tensors that are read again, += and functional in-place calls."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = Head(6)

    def forward(self, x):
        x = self.a(x)
        y = self.b(functional.leaky_relu(x, 0.1, True))
        y += x
        x.clamp_(0, 3)
        y = y.sub_(0.1).relu_()
        y *= 1.5
        return self.head(y + x)


class Functional(nn.Module):
    """Weights as parameters, called by function; slices and a constant matrix."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 3, 3, 3) * 0.3)
        self.g = nn.Parameter(torch.rand(6, 1, 1, 1) + 0.5)
        self.fc, self.m = nn.Parameter(torch.randn(8, 6) * 0.4), nn.Parameter(torch.randn(8, 5))
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("var", torch.full((6,), 0.5))

    def forward(self, x):
        x = functional.conv2d(x[:, :, 1:-1], self.w * self.g, None, stride=2, padding=1)
        x = functional.batch_norm(x, self.mean, self.var, eps=1e-3)
        x = functional.hardtanh(x, 0.0, 2.0)
        x = functional.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1)
        return functional.softplus(functional.linear(x, self.fc)) @ self.m
