"""The parallel neuron of tau = 2, forward and backward, fused: no time axis anywhere.

Three engines with the same bits: :mod:`reference` (torch, readable), :mod:`cpu` (numba, one pass),
:mod:`triton_fire` (CUDA). :mod:`function` gives tensors to one of them, and is what
:class:`spikeloom.SpikePack` calls. ``spikeloom.encoders.engine(name)`` chooses one by name.
"""
