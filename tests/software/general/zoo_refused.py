"""Networks that have no spiking form: what a report of each has to name."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from zoo_parts import Head, conv, relu


class Speech(nn.Module):
    """Convolutions, a GRU, a convolution in three dimensions that is never reached by trouble."""

    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(4, 8, 3, padding=1)
        self.rnn, self.out = nn.GRU(8, 8, 2, batch_first=True, bidirectional=True), nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.front(x)).transpose(1, 2)
        return self.out(self.rnn(x)[0][:, -1])


class SegNet(nn.Module):
    """Unpooling by the places of maxima."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(1, 4, act=relu()), conv(4, 4, act=relu())
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x):
        x, where = self.pool(self.a(x))
        return self.b(self.unpool(x, where))


class Three(nn.Module):
    """Three layers without a form, deep inside, between others that have one."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, act=nn.ReLU()), nn.LPPool2d(2, 2))
        self.body = nn.ModuleDict({"act": nn.Softsign(), "norm": nn.LocalResponseNorm(2)})
        self.head = Head(8)

    def forward(self, x):
        x = self.stem(x)
        for name in ("act", "norm"):
            x = torch.relu(self.body[name](x))
        return self.head(x)


class EarlyExit(nn.Module):
    """Goes on only where it is not sure."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        y = torch.relu(self.a(x))
        if y.max() > 1:
            return y
        return self.b(y)


class Halting(nn.Module):
    """As many rounds as the data wants."""

    def __init__(self):
        super().__init__()
        self.step = nn.Linear(6, 6)

    def forward(self, x):
        while x.abs().max() > 0.1:
            x = 0.5 * torch.relu(self.step(x))
        return x


class Experts(nn.Module):
    """The best expert of each sample, by index."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(6, 3), nn.Linear(6, 12)

    def forward(self, x):
        best = self.gate(x).argmax(dim=1, keepdim=True)
        y = torch.relu(self.experts(x)).view(-1, 3, 4)
        return torch.gather(y, 1, best.unsqueeze(2).expand(-1, -1, 4))


class Hyper(nn.Module):
    """Weights that another network makes."""

    def __init__(self):
        super().__init__()
        self.maker, self.out = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(torch.relu(functional.linear(x, self.maker(x).mean(0, keepdim=True)) + x))


class Warp(nn.Module):
    """A spatial transformer."""

    def __init__(self):
        super().__init__()
        self.where, self.head = nn.Linear(3, 6), Head(3)

    def forward(self, x):
        theta = self.where(x.mean((2, 3))).view(-1, 2, 3)
        grid = functional.affine_grid(theta, (x.size(0), 3, 8, 8), align_corners=False)
        return self.head(functional.grid_sample(x, grid, align_corners=False))


class Noisy(nn.Module):
    """Noise at inference, drawn in plain Python: a trace would keep one draw for ever."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)) + torch.randn(8))


class MonteCarlo(nn.Module):
    """Dropout that stays on, a batch norm of each batch, a view that is overwritten."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)

    def forward(self, x):
        x = functional.dropout(self.norm(self.a(x)), 0.5)
        rows = x.view(-1)
        x.relu_()
        return self.b(x) + rows[0]


def hooked():
    """A hook changes what a layer gives; a trace of the layers would not show it."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    model[0].register_forward_hook(lambda module, given, out: 3 * out)
    return model


def vectors(n):
    return torch.rand(n, 6)


#: Name -> (make the model, its data, what each problem says: by what it begins with).
REFUSED = {
    "gru": (Speech, lambda n: torch.rand(n, 4, 12), {"rnn": "GRU has no spiking form"}),
    "segnet": (
        SegNet,
        lambda n: torch.rand(n, 1, 8, 8),
        {"pool": "it returns indices", "unpool": "MaxUnpool2d has no spiking form"},
    ),
    "three layers": (
        Three,
        lambda n: torch.rand(n, 3, 8, 8),
        {
            "stem.1": "LPPool2d has no spiking form",
            "body.act": "Softsign has no spiking form",
            "body.norm": "LocalResponseNorm has no spiking form",
        },
    ),
    "early exit": (EarlyExit, vectors, {"EarlyExit.forward cannot be": "zoo_refused.py, line"}),
    "halting": (Halting, vectors, {"Halting.forward cannot be followed": "while x.abs().max()"}),
    "experts": (
        Experts,
        vectors,
        {"argmax": "the call 'argmax'", "gather": "the call 'gather'"},
    ),
    "hyper network": (Hyper, vectors, {"linear": "its weights are computed from the input"}),
    "spatial transformer": (
        Warp,
        lambda n: torch.rand(n, 3, 8, 8),
        {"affine_grid": "the call 'affine_grid'", "grid_sample": "the call 'grid_sample'"},
    ),
    "noise": (Noisy, vectors, {"Noisy cannot be converted": "differ from run to run"}),
    "hook": (hooked, vectors, {"Sequential cannot be converted": "hooks on 0 change"}),
    "monte carlo": (
        MonteCarlo,
        vectors,
        {
            "dropout": "this dropout is on at inference too",
            "norm": "it normalises by each batch",
            "relu_": "it overwrites a tensor that is read later through a view",
        },
    ),
}  # fmt: skip
