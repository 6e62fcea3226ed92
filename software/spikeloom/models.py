"""Small convolutional networks as plain torch modules: what Spikeloom trains, converts and ships.

Each takes floats 0..1 of shape (n, channels, height, width), namely bytes / 255, and gives logits
(n, classes). The bytes themselves are the first layer's words, so that nothing normalises the
input. Only Conv2d, BatchNorm2d, ReLU, pooling, Flatten, Linear and the residual add occur, each
ReLU as a module of its own: torch.fx traces all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["MODELS", "BasicBlock", "ModelSpec", "imu_cnn", "lenet", "resnet8", "scnn5"]


def _conv(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int | None = None
) -> list[nn.Module]:
    """Convolution, batch norm, ReLU; padding: by default what keeps the size at stride 1."""
    padding = kernel // 2 if padding is None else padding
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def lenet(classes: int = 10) -> nn.Sequential:
    """LeNet-5 with ReLU, max pooling and batch norm: (n, 1, 28, 28) to (n, classes)."""
    return nn.Sequential(
        *_conv(1, 6, 5),
        nn.MaxPool2d(2),
        *_conv(6, 16, 5, padding=0),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def scnn5(classes: int = 10) -> nn.Sequential:
    """FireFly-S's network of five 3x3 convolutions: (n, 1, 28, 28) to (n, classes).

    8c3-16c3-mp2-32c3-mp2-64c3-64c3-mp2-10fc. The last pooling takes 7x7 to 3x3: torch's floor.
    """
    return nn.Sequential(
        *_conv(1, 8, 3),
        *_conv(8, 16, 3),
        nn.MaxPool2d(2),
        *_conv(16, 32, 3),
        nn.MaxPool2d(2),
        *_conv(32, 64, 3),
        *_conv(64, 64, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 3 * 3, classes),
    )


class BasicBlock(nn.Module):
    """ResNet's basic block: relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)), 3x3 kernels.

    The shortcut is the identity (an empty Sequential, which leaves nothing in a trace) where the
    shapes agree, else a 1x1 convolution with the block's stride and a batch norm.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride), rounded up."""
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet8(classes: int = 10) -> nn.Sequential:
    """MLPerf Tiny's ResNet8 for CIFAR-10: (n, 3, 32, 32) to (n, classes)."""
    return nn.Sequential(
        *_conv(3, 16, 3),
        BasicBlock(16, 16),
        BasicBlock(16, 32, stride=2),
        BasicBlock(32, 64, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def _separable(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """Depthwise 5 x 1 with a stride in time, then pointwise; each with batch norm and ReLU."""
    return [
        nn.Conv2d(inputs, inputs, (5, 1), (stride, 1), (2, 0), groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        *_conv(inputs, outputs, 1),
    ]


def imu_cnn(classes: int = 7) -> nn.Sequential:
    """Depthwise-separable 1-D network on windows of motion: (n, 6, 128, 1) to (n, classes).

    Time is the height, so that its kernels are 5 x 1. 128 samples become 64, 32, 16.
    """
    return nn.Sequential(
        nn.Conv2d(6, 16, (5, 1), (2, 1), (2, 0), bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *_separable(16, 32),
        *_separable(32, 48, stride=2),
        *_separable(48, 64, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


@dataclass(frozen=True)
class ModelSpec:
    """How to build an untrained model, ``build(classes)``, and what it takes and gives.

    sample: (channels, height, width) of one input. classes: what build() assumes.
    """

    build: Callable[[int], nn.Sequential]
    sample: tuple[int, int, int]
    classes: int


#: Architectures by name, as in the metadata of a checkpoint.
MODELS: dict[str, ModelSpec] = {
    "lenet": ModelSpec(lenet, (1, 28, 28), 10),
    "scnn5": ModelSpec(scnn5, (1, 28, 28), 10),
    "resnet8": ModelSpec(resnet8, (3, 32, 32), 10),
    "imu-cnn": ModelSpec(imu_cnn, (6, 128, 1), 7),
}
