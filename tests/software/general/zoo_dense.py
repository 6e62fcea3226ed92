"""Networks that give maps, boxes and pictures."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from zoo_parts import conv, relu


class UNet(nn.Module):
    """Concatenated skips, transposed convolutions, a spatial attention gate, a mask."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.mid = (
            conv(1, 6, act=relu()), conv(6, 8, act=relu()), conv(8, 12, act=relu())
        )  # fmt: skip
        self.up2, self.up1 = nn.ConvTranspose2d(12, 8, 2, 2), nn.ConvTranspose2d(8, 6, 2, 2)
        self.dec2, self.dec1 = conv(16, 8, act=relu()), conv(12, 6, act=relu())
        self.gate, self.out = nn.Conv2d(2, 1, 3, padding=1), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(functional.max_pool2d(a, 2))
        m = self.mid(functional.max_pool2d(b, 2))
        seen = torch.cat([m.mean(1, keepdim=True), torch.max(m, dim=1, keepdim=True)[0]], 1)
        m = m * torch.sigmoid(self.gate(seen))
        x = self.dec2(torch.cat([self.up2(m), b], dim=1))
        x = self.dec1(torch.cat((self.up1(x), a), dim=1))
        return torch.sigmoid(self.out(x))


class SSD(nn.Module):
    """Two scales, boxes and scores of each, as a dict of lists; hard swish."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(conv(3, 8, s=2, act=nn.ReLU6(inplace=True)))
        self.b = nn.Sequential(conv(8, 12, s=2, act=nn.Hardswish(inplace=True)))
        self.boxes = nn.ModuleList([nn.Conv2d(c, 8, 3, padding=1) for c in (8, 12)])
        self.scores = nn.ModuleList([nn.Conv2d(c, 6, 3, padding=1) for c in (8, 12)])

    def forward(self, x):
        a = self.a(x)
        maps = [a, self.b(a)]
        boxes = [
            layer(m).permute(0, 2, 3, 1).reshape(m.shape[0], -1, 4)
            for layer, m in zip(self.boxes, maps, strict=True)
        ]
        scores = [
            layer(m).permute(0, 2, 3, 1).contiguous().view(m.size(0), -1, 3)
            for layer, m in zip(self.scores, maps, strict=True)
        ]
        return {"boxes": torch.cat(boxes, 1), "scores": torch.cat(scores, 1).softmax(-1)}


class FPN(nn.Module):
    """Lateral sums of upsampled maps, several outputs as a tuple."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 8, s=2, act=relu()), conv(8, 12, s=2, act=relu())
        self.la, self.lb = nn.Conv2d(8, 8, 1), nn.Conv2d(12, 8, 1)
        self.out = nn.Conv2d(8, 3, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=4, bias=False)

    def forward(self, x):
        a = self.a(x)
        b = self.lb(self.b(a))
        top = self.la(a) + functional.interpolate(b, scale_factor=2, mode="nearest")
        top = top + functional.interpolate(b, size=top.shape[-2:], mode="bilinear")
        return self.out(self.up(b)), self.out(top), torch.sigmoid(self.out(b))


class Autoencoder(nn.Module):
    """Down by strides, up by transposed convolutions, groups and odd paddings; Tanh at the end."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 6, 3, 2, 1), nn.ELU(), nn.Conv2d(6, 8, 3, 2, 1), nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1, groups=2), nn.BatchNorm2d(6),
            relu(), nn.ConvTranspose2d(6, 1, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x)


class SuperResolution(nn.Module):
    """Pixel shuffle, a long skip around it; pixels 0..255 in and out."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        y = self.shuffle(self.b(torch.relu(self.a(x / 255))))
        return functional.interpolate(x, scale_factor=2) + 255 * y


class DeepLab(nn.Module):
    """Dilated branches and the mean of all beside each other; bilinear to the full size."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(3, 8, s=2, act=relu()), conv(8, 8, act=relu()))
        self.near = conv(8, 4, 1, act=relu())
        self.far = nn.ModuleList([
            nn.Sequential(
                nn.Conv2d(8, 4, 3, padding=d, dilation=d, bias=False), nn.BatchNorm2d(4), relu()
            )
            for d in (2, 3)
        ])  # fmt: skip
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU())
        self.mix, self.out = conv(16, 8, 1, act=relu()), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        size = x.shape[-2:]
        x = self.body(x)
        parts = [self.near(x)] + [layer(x) for layer in self.far]
        parts.append(self.pool(x).expand(-1, -1, x.shape[2], x.shape[3]))
        x = self.out(self.mix(torch.cat(parts, dim=1)))
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class YOLO(nn.Module):
    """Pyramid pooling, a path up, two scales of anchors; SiLU."""

    def __init__(self):
        super().__init__()

        def unit(a, b, k=3, s=1):
            return conv(a, b, k, s, act=nn.SiLU(inplace=True))

        self.a, self.b = unit(3, 8, s=2), unit(8, 12, s=2)
        self.squeeze, self.mix = unit(12, 6, 1), unit(24, 12, 1)
        self.pools = nn.ModuleList([nn.MaxPool2d(k, 1, k // 2) for k in (3, 5, 7)])
        self.up, self.join = nn.Upsample(scale_factor=2), unit(20, 8)
        self.heads = nn.ModuleList([nn.Conv2d(c, 2 * 7, 1) for c in (8, 12)])

    def forward(self, x):
        a = self.a(x)
        b = self.squeeze(self.b(a))
        b = self.mix(torch.cat([b] + [pool(b) for pool in self.pools], 1))
        a = self.join(torch.cat([self.up(b), a], 1))
        found = []
        for head, y in zip(self.heads, (a, b), strict=True):
            y = head(y)
            n, _, h, w = y.shape
            found.append(y.view(n, 2, 7, h, w).permute(0, 1, 3, 4, 2).contiguous())
        return found


class KeyPoints(nn.Module):
    """Heat maps after a sigmoid, offsets beside them, by name."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(conv(3, 8, s=2, act=relu()), conv(8, 12, s=2, act=relu()))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"), conv(12, 8, act=relu())
        )
        self.heat, self.offsets = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.up(self.down(x))
        return {"heat": self.heat(x).sigmoid_(), "offsets": (self.offsets(x), x.amax((2, 3)))}


class HRNet(nn.Module):
    """Two resolutions side by side that swap what they know."""

    def __init__(self):
        super().__init__()
        self.high, self.low = conv(3, 6, act=relu()), conv(6, 12, s=2, act=relu())
        self.h, self.l = conv(6, 6, act=relu()), conv(12, 12, act=relu())
        self.down, self.up = conv(6, 12, s=2), conv(12, 6, 1)
        self.out = nn.Conv2d(18, 2, 1)

    def forward(self, x):
        high = self.high(x)
        low = self.low(high)
        high, low = self.h(high), self.l(low)
        a = torch.relu(high + functional.interpolate(self.up(low), scale_factor=2.0))
        b = torch.relu(low + self.down(high))
        return self.out(torch.cat([a, functional.interpolate(b, size=a.shape[2:])], 1))


class Diffusion(nn.Module):
    """A U-Net of group norms, told the time by an embedding that is added to the maps."""

    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(4, 12), nn.SiLU(), nn.Linear(12, 8))
        self.inner = nn.Conv2d(1, 8, 3, padding=1)
        self.n1, self.c1 = nn.GroupNorm(4, 8), nn.Conv2d(8, 8, 3, padding=1)
        self.n2, self.c2 = nn.GroupNorm(4, 8), nn.Conv2d(8, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x, t):
        x = self.inner(x)
        y = self.c1(functional.silu(self.n1(x)))
        y = y + self.time(t)[:, :, None, None]
        return self.out(x + self.c2(functional.silu(self.n2(y))))


class Tied(nn.Module):
    """The decoder has the encoder's weights, transposed."""

    def __init__(self):
        super().__init__()
        self.encoder, self.bias = nn.Linear(64, 16), nn.Parameter(torch.zeros(64))

    def forward(self, x):
        y = functional.relu(self.encoder(torch.flatten(x, 1)))
        y = functional.linear(y, self.encoder.weight.t(), self.bias)
        return torch.sigmoid(y).reshape(x.shape)
