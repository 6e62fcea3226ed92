"""Networks of tokens, of time, and of several inputs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from zoo_parts import Attention, conv, relu


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


class DictInput(nn.Module):
    """One argument that holds several tensors; an embedding of whole numbers."""

    def __init__(self):
        super().__init__()
        self.words, self.mix, self.out = nn.Embedding(7, 6), nn.Linear(10, 12), nn.Linear(12, 4)

    def forward(self, batch):
        x = torch.cat([self.words(batch["word"]), batch["extra"][0]], dim=1)
        return [self.out(torch.tanh(self.mix(x)))]


class WaveNet(nn.Module):
    """Gates over dilated convolutions, a sum of all skips."""

    def __init__(self, d=8):
        super().__init__()
        self.first, self.last, self.out = nn.Conv1d(4, d, 1), nn.Conv1d(d, d, 1), nn.Conv1d(d, 3, 1)
        self.gates = nn.ModuleList([nn.Conv1d(d, 2 * d, 2, dilation=2**i) for i in range(3)])
        self.mixes = nn.ModuleList([nn.Conv1d(d, d, 1) for _ in range(3)])

    def forward(self, x):
        x, skips = self.first(x), 0
        for i, (gate, mix) in enumerate(zip(self.gates, self.mixes, strict=True)):
            a, b = gate(functional.pad(x, (2**i, 0))).chunk(2, 1)
            y = mix(torch.tanh(a) * torch.sigmoid(b))
            x, skips = x + y, skips + y
        return self.out(functional.relu(self.last(functional.relu(skips))))


class TextCNN(nn.Module):
    """Words to vectors, three widths of convolutions, the greatest over time."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv1d(8, 6, k) for k in (2, 3, 4)])
        self.drop, self.out = nn.Dropout(0.3), nn.Linear(18, 4)

    def forward(self, tokens):
        x = self.words(tokens).transpose(1, 2)
        parts = [functional.relu(c(x)).max(dim=2)[0] for c in self.convs]
        return self.out(self.drop(torch.cat(parts, dim=1)))


class PointNet(nn.Module):
    """One perceptron for every point, the greatest of all."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(3, 12, 1), nn.BatchNorm1d(12), relu(), nn.Conv1d(12, 16, 1),
            nn.BatchNorm1d(16), relu(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 5))

    def forward(self, points):
        x = self.net(points.transpose(2, 1))
        return self.head(torch.max(x, 2, keepdim=False)[0])


class GPT(nn.Module):
    """Causal attention by a mask that is kept; the embedding's own weights give the logits."""

    def __init__(self, d=12, tokens=8):
        super().__init__()
        self.words, self.places = nn.Embedding(11, d), nn.Parameter(torch.randn(1, tokens, d) * 0.3)
        self.n1, self.n2, self.n3 = (nn.LayerNorm(d) for _ in range(3))
        self.qkv, self.proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 24), nn.Linear(24, d)
        self.register_buffer("past", torch.ones(tokens, tokens).triu(1).bool())

    def forward(self, tokens):
        x = self.words(tokens) + self.places
        q, k, v = self.qkv(self.n1(x)).split(12, dim=-1)
        scores = q @ k.transpose(-2, -1) / 12**0.5
        weights = scores.masked_fill(self.past, float("-inf")).softmax(dim=-1)
        x = x + self.proj(weights @ v)
        x = x + self.down(functional.gelu(self.up(self.n2(x)), approximate="tanh"))
        return functional.linear(self.n3(x), self.words.weight)


class Siamese(nn.Module):
    """One encoder for two pictures; their difference and the greater decide."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            conv(1, 6, s=2, act=relu()), conv(6, 8, s=2, act=relu()), nn.Flatten(),
            nn.Linear(128, 8), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(24, 2)

    def forward(self, left, right):
        a, b = self.encoder(left), self.encoder(right)
        return self.head(torch.cat([a, torch.abs(a - b), torch.maximum(a, b)], dim=-1))


class ActorCritic(nn.Module):
    """Two heads on one body: chances and a value."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 16), nn.Tanh())
        self.actor, self.critic = nn.Linear(16, 4), nn.Linear(16, 1)

    def forward(self, state):
        x = self.body(state)
        return functional.softmax(self.actor(x), dim=-1), self.critic(x).squeeze(-1)


class Recommender(nn.Module):
    """Vectors of users and things, and what a perceptron makes of both."""

    def __init__(self):
        super().__init__()
        self.users, self.things = nn.Embedding(9, 6), nn.Embedding(13, 6)
        self.deep = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
        self.out = nn.Linear(10, 1)

    def forward(self, user, thing):
        a, b = self.users(user), self.things(thing)
        return self.out(torch.cat([a * b, self.deep(torch.cat([a, b], 1))], 1))
