"""Small models of many kinds, each with the inputs that it takes."""

from __future__ import annotations

import torch
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


class Block(nn.Module):
    def __init__(self, a, b, stride=1):
        super().__init__()
        self.f = nn.Sequential(conv(a, b, s=stride, act=relu()), conv(b, b))
        self.short = conv(a, b, 1, stride) if stride > 1 or a != b else nn.Identity()
        self.act = relu()

    def forward(self, x):
        return self.act(self.f(x) + self.short(x))


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


class SqueezeExcite(nn.Module):
    def __init__(self, c, gate=nn.Hardsigmoid):
        super().__init__()
        self.down, self.up, self.gate = nn.Conv2d(c, c // 2, 1), nn.Conv2d(c // 2, c, 1), gate()

    def forward(self, x):
        w = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.up(functional.relu(self.down(w))))


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


class ViT(nn.Module):
    """Patches, a class token, positions; one block written out, one of torch's attention."""

    def __init__(self, d=16, heads=2):
        super().__init__()
        self.patch = nn.Conv2d(3, d, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, d) * 0.5)
        self.position = nn.Parameter(torch.randn(1, 17, d) * 0.5)
        self.norms = nn.ModuleList([nn.LayerNorm(d) for _ in range(5)])
        self.first = Attention(d, heads)
        self.second = nn.MultiheadAttention(d, heads, batch_first=True)
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(d, 32), nn.GELU(), nn.Linear(32, d)) for _ in range(2)]
        )
        self.head = nn.Linear(d, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        x = x + self.first(self.norms[0](x))
        x = x + self.mlps[0](self.norms[1](x))
        y = self.norms[2](x)
        x = x + self.second(y, y, y, need_weights=False)[0]
        x = x + self.mlps[1](self.norms[3](x))
        return self.head(self.norms[4](x)[:, 0])


class TorchTransformer(nn.Module):
    """torch's own encoder, tokens first."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 3, 24, dropout=0.1, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


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


class MultiInput(nn.Module):
    """An image and numbers; joined, and a part that is left out by default."""

    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(conv(1, 6, act=relu()), nn.AdaptiveMaxPool2d(2), nn.Flatten())
        self.numbers = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.1))
        self.head = nn.Sequential(nn.Linear(32, 16), nn.PReLU(16), nn.Linear(16, 5))

    def forward(self, image, numbers, scale=None):
        if scale is not None:
            numbers = numbers * scale
        return self.head(torch.cat([self.image(image), self.numbers(numbers)], dim=-1))


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


class ConvNeXt(nn.Module):
    """Depthwise, LayerNorm with channels last, GELU, a scale a channel."""

    def __init__(self, d=12):
        super().__init__()
        self.stem = nn.Conv2d(3, d, 2, 2)
        self.dw = nn.Conv2d(d, d, 5, padding=2, groups=d)
        self.norm, self.up, self.down = nn.LayerNorm(d), nn.Linear(d, 24), nn.Linear(24, d)
        self.gamma = nn.Parameter(torch.full((d,), 0.5))
        self.head = nn.Linear(d, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        y = self.down(functional.gelu(self.up(y))) * self.gamma
        x = x + y.permute(0, 3, 1, 2)
        return self.head(x.mean([-2, -1]))


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


class Mixer(nn.Module):
    """Linear over tokens and over channels."""

    def __init__(self, d=12, tokens=16):
        super().__init__()
        self.patch = nn.Conv2d(3, d, 4, 4)
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.tokens = nn.Sequential(nn.Linear(tokens, 24), nn.GELU(), nn.Linear(24, tokens))
        self.channels = nn.Sequential(nn.Linear(d, 24), nn.GELU(), nn.Linear(24, d))
        self.head = nn.Linear(d, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).permute(0, 2, 1)
        x = x + self.tokens(self.n1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.n2(x))
        return self.head(x.mean(dim=1))


class TCN(nn.Module):
    """Causal dilated convolutions over time."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv1d(4, 8, 3, dilation=1)
        self.b = nn.Conv1d(8, 8, 3, dilation=2)
        self.norm, self.short, self.head = nn.BatchNorm1d(8), nn.Conv1d(4, 8, 1), nn.Linear(8, 3)

    def forward(self, x):
        y = functional.relu(self.norm(self.a(functional.pad(x, (2, 0)))))
        y = functional.relu(self.b(functional.pad(y, (4, 0))))
        x = functional.relu(y + self.short(x))
        return self.head(x[:, :, -1] + functional.max_pool1d(x, 4).amax(2))


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


class DictInput(nn.Module):
    """One argument that holds several tensors; an embedding of whole numbers."""

    def __init__(self):
        super().__init__()
        self.words, self.mix, self.out = nn.Embedding(7, 6), nn.Linear(10, 12), nn.Linear(12, 4)

    def forward(self, batch):
        x = torch.cat([self.words(batch["word"]), batch["extra"][0]], dim=1)
        return [self.out(torch.tanh(self.mix(x)))]


class SuperResolution(nn.Module):
    """Pixel shuffle, a long skip around it; pixels 0..255 in and out."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        y = self.shuffle(self.b(torch.relu(self.a(x / 255))))
        return functional.interpolate(x, scale_factor=2) + 255 * y


def images(n, channels=3, size=16):
    """Smooth pictures in 0..1: more like real ones than noise."""
    coarse = torch.rand(n, channels, size // 4, size // 4)
    x = functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    return (x + 0.1 * torch.rand(n, channels, size, size)).clamp(0, 1)


def grey(n):
    return images(n, 1)


#: Name -> how to make the model, and its arguments for n samples.
ZOO = {
    "vgg": (VGG, images),
    "resnet": (ResNet, images),
    "pre-activation resnet": (PreActivation, images),
    "mobilenet v2": (MobileNetV2, images),
    "efficientnet lite": (lambda: MobileNetV2(nn.ReLU6, kernel=5), images),
    "squeeze and excite": (lambda: MobileNetV2(nn.SiLU, squeeze=True), images),
    "u-net": (UNet, grey),
    "vit": (ViT, images),
    "torch transformer": (TorchTransformer, lambda n: 3 * torch.rand(n, 9, 12) - 1.5),
    "ssd": (SSD, images),
    "fpn": (FPN, images),
    "multi-input": (MultiInput, lambda n: (grey(n), torch.randn(n, 4))),
    "shared": (Shared, images),
    "densenet": (DenseNet, images),
    "inception": (Inception, images),
    "convnext": (ConvNeXt, images),
    "autoencoder": (Autoencoder, grey),
    "mlp-mixer": (Mixer, images),
    "tcn": (TCN, lambda n: 3 * torch.rand(n, 4, 20) - 1.5),
    "shufflenet": (ShuffleNet, images),
    "in place": (InPlace, images),
    "functional": (Functional, images),
    "dict input": (
        DictInput,
        lambda n: {"word": torch.randint(0, 7, (n,)), "extra": [torch.randn(n, 4)]},
    ),
    "super-resolution": (SuperResolution, lambda n: grey(n) * 255),
}


#: Models whose random outputs hardly depend on the input: they learn for a moment.
TRAINED = ("mobilenet v2", "efficientnet lite", "squeeze and excite", "vit")


def settled(name, n=160):
    """A model of the zoo with useful weights and batch norms, in eval mode, and its data."""
    make, data = ZOO[name]
    torch.manual_seed(sum(map(ord, name)))
    model, given = make(), data(n)
    for m in model.modules():
        if isinstance(m, (nn.Conv1d, nn.Conv2d)):
            nn.init.kaiming_normal_(m.weight)
            if m.bias is not None:
                nn.init.normal_(m.bias, 0, 0.1)
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(m.weight, 0.7, 1.3)
            nn.init.uniform_(m.bias, -0.3, 0.3)
    model.train()
    if name in TRAINED:
        train(model, data)
    with torch.no_grad():
        for _ in range(15):
            run(model, data(32))
    return model.eval(), given, data


def train(model, data, rounds=60):
    """Learn which of five bands of brightness a picture is in."""
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(rounds):
        x = data(32)
        labels = x.mean((1, 2, 3)).argsort().argsort() * 5 // 32
        optimiser.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimiser.step()


def run(model, given):
    return model(*given) if isinstance(given, tuple) else model(given)


def outputs(value):
    """Tensors of an output, flat."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [t for part in parts for t in outputs(part)]
