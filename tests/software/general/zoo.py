"""Models of many kinds, each with inputs that it takes, after a short training."""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.nn import functional
from zoo_classify import (
    VGG,
    DenseNet,
    Functional,
    Inception,
    InPlace,
    MobileNetV2,
    PreActivation,
    ResNet,
    Shared,
    ShuffleNet,
)
from zoo_dense import (
    FPN,
    SSD,
    YOLO,
    Autoencoder,
    DeepLab,
    Diffusion,
    HRNet,
    KeyPoints,
    SuperResolution,
    Tied,
    UNet,
)
from zoo_more import (
    CBAM,
    ConvMixer,
    Darknet,
    FaceNet,
    GhostNet,
    InceptionV3,
    LeNet,
    RepVGG,
    ResNeXt,
    Spectrogram,
    SqueezeNet,
    Tabular,
    WeightNormed,
)
from zoo_tokens import (
    GPT,
    TCN,
    ActorCritic,
    ConvNeXt,
    DictInput,
    Mixer,
    MultiInput,
    PointNet,
    Recommender,
    Siamese,
    TextCNN,
    TorchTransformer,
    ViT,
    WaveNet,
)


def images(n, channels=3, size=16):
    """Smooth pictures in 0..1, darker and brighter ones: more like real ones than noise."""
    coarse = torch.rand(n, channels, size // 4, size // 4)
    x = functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    light = 0.2 + 0.8 * torch.rand(n, 1, 1, 1)
    return light * (x + 0.1 * torch.rand(n, channels, size, size)).clamp(0, 1)


def grey(n):
    return images(n, 1)


def signals(*shape):
    """Noise on a level of its own for each sample."""

    def give(n):
        return 2 * torch.rand(n, *shape) - 1 + torch.rand(n, *[1] * len(shape)) - 0.5

    return give


def early_relu():
    """Activations of MobileNetV3, in order: hard swish at both ends, ReLU between."""
    acts = iter([nn.Hardswish, *[nn.ReLU] * 4])
    return lambda: next(acts, nn.Hardswish)()


def whole(top, *shape):
    return lambda n: torch.randint(0, top, (n, *shape))


#: Name -> how to make the model, and its arguments for n samples.
ZOO = {
    "vgg": (VGG, images),
    "resnet": (ResNet, images),
    "pre-activation resnet": (PreActivation, images),
    "resnext": (ResNeXt, images),
    "repvgg": (RepVGG, images),
    "darknet": (Darknet, images),
    "mobilenet v2": (MobileNetV2, images),
    "mobilenet v3": (lambda: MobileNetV2(early_relu(), squeeze=True, kernel=5), images),
    "efficientnet lite": (lambda: MobileNetV2(nn.ReLU6, kernel=5), images),
    "squeeze and excite": (lambda: MobileNetV2(nn.SiLU, squeeze=True), images),
    "squeezenet": (SqueezeNet, images),
    "ghostnet": (GhostNet, images),
    "shufflenet": (ShuffleNet, images),
    "densenet": (DenseNet, images),
    "inception": (Inception, images),
    "inception v3": (InceptionV3, images),
    "face net": (FaceNet, images),
    "lenet": (LeNet, grey),
    "cbam": (CBAM, images),
    "convnext": (ConvNeXt, images),
    "convmixer": (ConvMixer, images),
    "mlp-mixer": (Mixer, images),
    "weight norm": (WeightNormed, images),
    "shared": (Shared, images),
    "in place": (InPlace, images),
    "functional": (Functional, images),
    "u-net": (UNet, grey),
    "deeplab": (DeepLab, images),
    "hrnet": (HRNet, images),
    "autoencoder": (Autoencoder, grey),
    "tied weights": (Tied, lambda n: images(n, 1, 8)),
    "super-resolution": (SuperResolution, lambda n: grey(n) * 255),
    "diffusion": (Diffusion, lambda n: (grey(n), torch.randn(n, 4))),
    "ssd": (SSD, images),
    "yolo": (YOLO, images),
    "fpn": (FPN, images),
    "key points": (KeyPoints, images),
    "vit": (ViT, images),
    "torch transformer": (TorchTransformer, signals(9, 12)),
    "gpt": (GPT, whole(11, 8)),
    "text cnn": (TextCNN, whole(20, 12)),
    "recommender": (Recommender, lambda n: (whole(9)(n), whole(13)(n))),
    "tcn": (TCN, signals(4, 20)),
    "wavenet": (WaveNet, signals(4, 20)),
    "spectrogram": (Spectrogram, grey),
    "point net": (PointNet, signals(20, 3)),
    "tabular": (Tabular, signals(9)),
    "actor and critic": (ActorCritic, signals(6)),
    "siamese": (Siamese, lambda n: (grey(n), grey(n))),
    "multi-input": (MultiInput, lambda n: (grey(n), torch.randn(n, 4))),
    "dict input": (
        DictInput,
        lambda n: {"word": torch.randint(0, 7, (n,)), "extra": [torch.randn(n, 4)]},
    ),
}


#: Overwrites what a gradient would need.
UNTRAINED = ("in place",)


@functools.cache
def settled(name, n=160):
    """A model after a short training, in eval mode; data to calibrate it on, and to test it."""
    make, data = ZOO[name]
    torch.manual_seed(sum(map(ord, name)))
    model, given = make(), data(n)
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(m.weight, 0.7, 1.3)
            nn.init.uniform_(m.bias, -0.3, 0.3)
    model.train()
    if name not in UNTRAINED:
        train(model, data)
    with torch.no_grad():
        for _ in range(15):  # batch norms know the trained network
            run(model, data(32))
        return model.eval(), given, data(128)


def train(model, data, rounds=40):
    """Learn how bright a picture, or how great a signal is, at every output; or what a word is."""
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(rounds):
        given = data(32)
        optimiser.zero_grad()
        sum(missed(y, outputs(given)[0]) for y in outputs(run(model, given))).backward()
        optimiser.step()


def missed(y, x):
    """Loss of one output. Classes are bands of the level; all else goes up and down with it."""
    if not x.is_floating_point() and x.ndim == 2 and y.ndim == 3:
        return functional.cross_entropy(y.flatten(0, 1), x.flatten())
    level = x.float().reshape(len(x), -1).mean(1)
    if y.ndim == 2 and y.shape[1] > 1:
        return functional.cross_entropy(y, level.argsort().argsort() * y.shape[1] // len(y))
    target = ((level - level.mean()) / level.std()).view(-1, *[1] * (y.ndim - 1)).expand_as(y)
    return functional.mse_loss(y, target)


def run(model, given):
    return model(*given) if isinstance(given, tuple) else model(given)


def outputs(value):
    """Tensors of what a model takes or gives, flat."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [t for part in parts for t in outputs(part)]
