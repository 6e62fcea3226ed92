"""Numba kernels of the encoders: the bits of the torch reference, at the speed of C.

Each works in place on (rows, time) arrays, releases the GIL, and returns the flat index of the
first sample that is not finite, or -1.
"""
