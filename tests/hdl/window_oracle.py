"""Windows in plain integers: corner shapes, random ones, and the pixels that each looks at."""

from __future__ import annotations

from hypothesis import strategies as st
from spikeloom.hardware.window import Window

SHAPES = {
    "one pixel": Window(1, 1, 1, 1),
    "whole sample": Window(4, 3, 4, 3),
    "3x3 padded": Window(5, 6, 3, 3, 1, 1, 1, 1),
    "one pixel padded": Window(1, 1, 3, 3, 1, 1, 1, 1),
    "stride 2": Window(7, 6, 3, 3, 2, 2, 1, 1),
    "2x2 tiles": Window(4, 6, 2, 2, 2, 2),
    "2x2 tiles and a rest": Window(5, 7, 2, 2, 2, 2),
    "rows not looked at": Window(9, 3, 2, 1, 7, 1),
    "gaps": Window(7, 8, 2, 1, 4, 3),
    "wide padding": Window(3, 3, 5, 5, 1, 2, 4, 3),
    "column": Window(6, 1, 3, 1, 2, 1, 1, 0),
    "row": Window(1, 7, 1, 4, 1, 2, 0, 2),
}


def taps(window: Window, position: int) -> list[tuple[int, int]]:
    """(tap, pixel) of every tap of a window that lies in the sample."""
    out_y, out_x = divmod(position, window.out_width)
    found = []
    for ky in range(window.kernel_height):
        for kx in range(window.kernel_width):
            y = out_y * window.stride_y - window.pad_y + ky
            x = out_x * window.stride_x - window.pad_x + kx
            if 0 <= y < window.height and 0 <= x < window.width:
                found.append((ky * window.kernel_width + kx, y * window.width + x))
    return found


@st.composite
def windows(draw, most: int = 7):
    """Any geometry of small samples."""
    sizes = []
    for _ in range(2):
        size, kernel = draw(st.integers(1, most)), draw(st.integers(1, 4))
        least = max(0, -(-(kernel - size) // 2))
        pad = draw(st.integers(least, max(least, kernel - 1)))
        sizes.append((size, kernel, draw(st.integers(1, 4)), pad))
    return Window(*(value for pair in zip(*sizes, strict=True) for value in pair))
