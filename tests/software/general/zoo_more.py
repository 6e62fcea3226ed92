"""More networks that classify pictures: one for each idea that others have not got."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from zoo_parts import Head, conv, relu


class SqueezeNet(nn.Module):
    """Fire modules; a convolution gives the classes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2), relu(), nn.MaxPool2d(3, 2, ceil_mode=True))
        self.squeeze = nn.ModuleList([nn.Conv2d(8, 4, 1), nn.Conv2d(16, 4, 1)])
        self.one = nn.ModuleList([nn.Conv2d(4, 8, 1) for _ in range(2)])
        self.three = nn.ModuleList([nn.Conv2d(4, 8, 3, padding=1) for _ in range(2)])
        self.drop, self.last = nn.Dropout(0.5), nn.Conv2d(16, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        for squeeze, one, three in zip(self.squeeze, self.one, self.three, strict=True):
            x = torch.relu(squeeze(x))
            x = torch.cat([torch.relu(one(x)), torch.relu(three(x))], 1)
        x = torch.relu(self.last(self.drop(x)))
        return functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1)


class ResNeXt(nn.Module):
    """Grouped bottlenecks, strided shortcuts by average pooling."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 16, act=relu())
        self.f = nn.Sequential(
            conv(16, 8, 1, act=relu()), conv(8, 8, 3, 2, 4, relu()), conv(8, 16, 1)
        )
        self.short = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), conv(16, 16, 1))
        self.head = Head(16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(functional.relu(self.f(x).add_(self.short(x)), inplace=True))


class FaceNet(nn.Module):
    """PReLU, a depthwise convolution over the whole map, cosines to the centres of the classes."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            conv(3, 8, s=2, act=nn.PReLU(8)), conv(8, 8, g=8, act=nn.PReLU(8)),
            conv(8, 12, 1, 2, act=nn.PReLU()),
        )  # fmt: skip
        self.whole, self.last = nn.Conv2d(12, 12, 4, groups=12, bias=False), nn.Linear(12, 8)
        self.centres = nn.Parameter(torch.randn(5, 8))

    def forward(self, x):
        x = functional.normalize(self.last(self.whole(self.net(x)).flatten(1)), dim=1)
        return 8 * functional.linear(x, functional.normalize(self.centres))


class InceptionV3(nn.Module):
    """Four branches, kernels that are not square, batch norms of another eps."""

    def __init__(self):
        super().__init__()
        self.stem = self.unit(3, 8, 3)
        self.a, self.b = self.unit(8, 4, 1), self.unit(8, 4, 5)
        self.c = nn.Sequential(self.unit(8, 4, (1, 7)), self.unit(4, 4, (7, 1)))
        self.d, self.head = self.unit(8, 4, 1), Head(16)

    @staticmethod
    def unit(a, b, kernel):
        return nn.Sequential(
            nn.Conv2d(a, b, kernel, padding="same", bias=False), nn.BatchNorm2d(b, eps=1e-3), relu()
        )

    def forward(self, x):
        x = self.stem(x)
        pooled = functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1,
                                       count_include_pad=False)  # fmt: skip
        return self.head(torch.cat((self.a(x), self.b(x), self.c(x), self.d(pooled)), 1))


class GhostNet(nn.Module):
    """Half of the maps are cheap copies; slices cut what is too much."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = conv(3, 8, s=2, act=relu()), Head(7)
        self.first, self.cheap = conv(8, 4, 1, act=relu()), conv(4, 4, 3, g=4, act=relu())

    def forward(self, x):
        a = self.first(self.stem(x))
        return self.head(torch.cat([a, self.cheap(a)], dim=1)[:, :7, :, :])


class LeNet(nn.Module):
    """Tanh and average pooling, as in 1998."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 4, 5), nn.Conv2d(4, 8, 3)
        self.f1, self.f2 = nn.Linear(32, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = functional.avg_pool2d(torch.tanh(self.c1(x)), 2)
        x = functional.avg_pool2d(self.c2(x).tanh(), 2)
        return self.f2(torch.tanh(self.f1(x.view(x.size(0), -1))))


class ConvMixer(nn.Module):
    """GELU before the batch norm, a sum around the depthwise part."""

    def __init__(self, d=12):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, d, 2, 2), nn.GELU(), nn.BatchNorm2d(d))
        self.depth = nn.Sequential(
            nn.Conv2d(d, d, 5, groups=d, padding="same"), nn.GELU(), nn.BatchNorm2d(d)
        )
        self.point = nn.Sequential(nn.Conv2d(d, d, 1), nn.GELU(), nn.BatchNorm2d(d))
        self.head = Head(d)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.point(self.depth(x) + x))


class RepVGG(nn.Module):
    """Three linear branches, one of them a batch norm alone."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8, s=2, act=relu())
        self.three, self.one, self.norm = conv(8, 8), conv(8, 8, 1), nn.BatchNorm2d(8)
        self.head = Head(8)

    def forward(self, x):
        x = self.stem(x)
        return self.head(torch.relu(self.three(x) + self.one(x) + self.norm(x)))


class CBAM(nn.Module):
    """Attention over channels by a shared perceptron, and over places."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 8, act=relu()), conv(8, 12, s=2, act=relu())
        self.shared = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 12))
        self.place, self.head = nn.Conv2d(2, 1, 7, padding=3, bias=False), Head(12)

    def forward(self, x):
        x = self.b(self.a(x))
        n, c, _, _ = x.shape
        mean, most = x.mean((2, 3)), torch.amax(x, (2, 3))
        x = x * torch.sigmoid(self.shared(mean) + self.shared(most)).view(n, c, 1, 1)
        seen = torch.cat([x.mean(1, True), x.max(1, True).values], 1)
        return self.head(x * self.place(seen).sigmoid())


class Darknet(nn.Module):
    """Cross-stage parts of LeakyReLU(0.1), in a dict of modules."""

    def __init__(self):
        super().__init__()

        def unit(a, b, k=3, s=1):
            return conv(a, b, k, s, act=nn.LeakyReLU(0.1, inplace=True))

        self.stem, self.last, self.head = unit(3, 8, s=2), unit(16, 12, 1), Head(12)
        self.parts = nn.ModuleDict({"left": unit(8, 8, 1), "right": unit(8, 8, 1),
                                    "a": unit(8, 4, 1), "b": unit(4, 8)})  # fmt: skip

    def forward(self, x):
        x = self.stem(x)
        y = self.parts["right"](x)
        y = y + self.parts["b"](self.parts["a"](y))
        return self.head(self.last(torch.cat([self.parts["left"](x), y], 1)))


class Spectrogram(nn.Module):
    """Group norm instead of batch norm; time last, folded into the features."""

    def __init__(self):
        super().__init__()
        self.a, self.na = nn.Conv2d(1, 8, (3, 5), (1, 2), (1, 2)), nn.GroupNorm(2, 8)
        self.b, self.nb = nn.Conv2d(8, 8, 3, (2, 1), 1), nn.GroupNorm(4, 8)
        self.mix, self.out = nn.Linear(64, 12), nn.Linear(12, 5)

    def forward(self, x):
        x = functional.silu(self.na(self.a(x)))
        x = functional.silu(self.nb(self.b(x)))
        x = x.permute(0, 3, 1, 2).flatten(2)  # (n, time, channels * frequencies)
        return self.out(functional.relu(self.mix(x)).mean(dim=1))


class Tabular(nn.Module):
    """Batch norm in front of blocks of linear layers, dropout, a sum around them."""

    def __init__(self, d=16):
        super().__init__()
        self.first, self.head = nn.Linear(9, d), nn.Linear(d, 5)
        self.blocks = nn.ModuleList([
            nn.Sequential(nn.BatchNorm1d(d), nn.Linear(d, 24), nn.ReLU(), nn.Dropout(0.2),
                          nn.Linear(24, d), nn.Dropout(0.1))
            for _ in range(2)
        ])  # fmt: skip
        self.norm = nn.BatchNorm1d(d)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(torch.relu(self.norm(x)))


class WeightNormed(nn.Module):
    """Weights that torch computes by hooks: the older weight_norm, spectral_norm."""

    def __init__(self):
        super().__init__()
        self.a = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3, 2, 1))
        self.b = nn.utils.spectral_norm(nn.Conv2d(8, 8, 3, 1, 1))
        self.norm, self.head = nn.BatchNorm2d(8), Head(8)

    def forward(self, x):
        return self.head(functional.elu(self.norm(self.b(functional.elu(self.a(x))))))
