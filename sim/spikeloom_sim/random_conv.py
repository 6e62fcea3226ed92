"""Random small convolutional networks, for benches and tests: every op, joins within joins."""

from __future__ import annotations

from collections.abc import Sequence

from spikeloom.network import Network
from spikeloom.ops import MaxPool2d

from spikeloom_sim.random_ops import OpBuilder

__all__ = ["BLOCKS", "random_conv_network"]

#: What a random network is made of; each block takes words and gives words.
BLOCKS = (
    "conv",  # convolution that fires
    "depthwise",  # the same for every channel alone
    "fire",  # convolution, Fire
    "maxfire",  # convolution, max pool of its potentials, Fire
    "maxpool",  # of words
    "avgpool",
    "pad",
    "skip",  # two convolutions, the second adds the block's input
    "same",  # one convolution that adds its own input
    "project",  # as skip; what is added are the potentials of a 1x1 convolution
    "add",  # two branches that an Add joins
    "nested",  # a skip around a skip
    "dense",  # Flatten and a fully connected layer; only other dense blocks can follow
)
_MOST = 3  # random blocks: 4 layers at most each, and two behind them, are no more than 15


def random_conv_network(
    seed: int,
    *,
    blocks: Sequence[str] | None = None,
    shape: tuple[int, int, int] | None = None,
    channels: int = 6,
    bits: int | None = None,
    weight_bits: int | None = None,
) -> Network:
    """Return a small network of random structure and numbers, at most 15 layers.

    blocks: names of BLOCKS, in their order; without, some at random. shape: (channels, height,
    width) of a sample, random without (1..channels, 1..8, 1..8). channels: most channels of a
    layer. bits, weight_bits: T of all words, W of all weights; random for every layer without.
    Thresholds and biases suit what flows: words take all values, but one channel in eight never
    fires, one in eight always gives the greatest word, and thresholds of 1 and of the top occur.
    """
    return _Builder(seed, shape, channels, bits, weight_bits).build(blocks)


class _Builder(OpBuilder):
    """Appends blocks of ops."""

    def skip(self, inner: bool = False) -> str:
        """Two convolutions of the same size (or a skip and one) that add what comes in."""
        start = self.at
        channels = self.edges[start].channels
        if inner:
            self.conv(kernel=(3, 3), padding=(1, 1), stride=(1, 1))
            self.skip()
        else:
            self.conv(kernel=(1, 3), padding=(0, 1), stride=(1, 1))
        return self.conv(kernel=(3, 3), padding=(1, 1), stride=(1, 1), outputs=channels, skip=start)

    def project(self) -> str:
        """The residual block that changes size: potentials of a 1x1 convolution are added."""
        start, stride = self.at, (self.draw(1, 2), self.draw(1, 2))
        outputs = self.draw(1, self.channels)
        shortcut = self.conv(kernel=(1, 1), stride=stride, outputs=outputs, fires=False)
        self.conv(source=start, kernel=(3, 3), padding=(1, 1), stride=stride)
        return self.conv(
            kernel=(3, 3), padding=(1, 1), stride=(1, 1), outputs=outputs, skip=shortcut
        )

    def branches(self) -> str:
        """Two branches and an Add: a convolution, and the input or a pool or another one."""
        start, channels = self.at, self.edges[self.at].channels
        main = self.conv(kernel=(3, 3), padding=(1, 1), stride=(1, 1), outputs=channels)
        kind, other = self.draw(0, 3), start
        self.at = start
        if kind == 1:
            other = self.push(MaxPool2d(self.name("maxpool"), (3, 3), (1, 1), (1, 1), source=start))
        elif kind == 2:
            other = self.conv(kernel=(5, 1), padding=(2, 0), stride=(1, 1), outputs=channels)
        elif kind == 3:
            other = main
        pair = (main, other) if self.chance(0.5) else (other, main)
        return self.add(*pair)

    def block(self, kind: str) -> None:
        """Append one of BLOCKS."""
        if kind == "conv":
            self.conv()
        elif kind == "depthwise":
            channels = self.edges[self.at].channels
            self.conv(groups=channels, fires=channels == 1 or self.chance(0.7))
            if self.edges[self.at].signed:
                self.fire()
        elif kind == "fire":
            self.conv(fires=False)
            self.fire()
        elif kind == "maxfire":
            self.conv(fires=False)
            self.pool("maxpool")
            self.fire()
        elif kind in ("maxpool", "avgpool"):
            self.pool(kind)
        elif kind == "pad":
            self.pad()
        elif kind == "same":
            channels, start = self.edges[self.at].channels, self.at
            self.conv(kernel=(3, 3), padding=(1, 1), stride=(1, 1), outputs=channels, skip=start)
        elif kind == "project":
            self.project()
        elif kind == "add":
            self.branches()
        elif kind == "dense":
            self.linear(self.draw(1, 12), fires=True)
        else:
            self.skip(inner=kind == "nested")

    def build(self, blocks: Sequence[str] | None) -> Network:
        """The whole network."""
        unknown = set(blocks or ()) - set(BLOCKS)
        if unknown:
            raise ValueError(f"no blocks {sorted(unknown)}; known are {', '.join(BLOCKS)}")
        if blocks is None:
            drawn = [str(self.rng.choice(BLOCKS[:-1])) for _ in range(self.draw(1, _MOST))]
            blocks = [*drawn, *["dense"] * self.draw(0, 1)]
        for kind in blocks:
            self.block(kind)
        self.linear(self.draw(2, 5), fires=False)
        return Network(self.ops, self.shape, self.input_bits)
