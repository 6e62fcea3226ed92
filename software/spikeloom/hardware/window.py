"""Where the windows of a convolution or a pooling lie."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Window"]


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window; padding is symmetric, floor mode (a rest is not looked at).

    Output pixel (y, x) looks at input rows y * stride_y - pad_y .. + kernel_height - 1, and at
    columns likewise; those outside do not exist.
    Raises ValueError when no window fits, or one could lie outside altogether.
    """

    height: int
    width: int
    kernel_height: int
    kernel_width: int
    stride_y: int = 1
    stride_x: int = 1
    pad_y: int = 0
    pad_x: int = 0

    def __post_init__(self) -> None:
        for name, size, kernel, pad in (
            ("high", self.height, self.kernel_height, self.pad_y),
            ("wide", self.width, self.kernel_width, self.pad_x),
        ):
            if kernel > size + 2 * pad:
                raise ValueError(
                    f"a kernel {kernel} {name} does not fit samples {size} {name} with padding"
                    f" {pad}: use a smaller kernel or more padding"
                )
            if pad >= kernel:
                raise ValueError(
                    f"padding {pad} must be smaller than the kernel, {kernel} {name}:"
                    " windows would lie outside of the sample"
                )

    @property
    def taps(self) -> int:
        """Pixels of a window."""
        return self.kernel_height * self.kernel_width

    @property
    def out_height(self) -> int:
        """Rows of windows."""
        return (self.height + 2 * self.pad_y - self.kernel_height) // self.stride_y + 1

    @property
    def out_width(self) -> int:
        """Windows of a row."""
        return (self.width + 2 * self.pad_x - self.kernel_width) // self.stride_x + 1

    @property
    def pixels(self) -> int:
        """Input pixels of a sample."""
        return self.height * self.width

    @property
    def out_pixels(self) -> int:
        """Windows of a sample."""
        return self.out_height * self.out_width

    def needs(self, position: int) -> int:
        """Input pixels, in raster order, that must have come before window ``position`` is done."""
        y, x = divmod(position, self.out_width)
        row = min(y * self.stride_y - self.pad_y + self.kernel_height - 1, self.height - 1)
        column = min(x * self.stride_x - self.pad_x + self.kernel_width - 1, self.width - 1)
        # row may lie above the sample only if the kernel is all padding, which is refused
        return row * self.width + column + 1
