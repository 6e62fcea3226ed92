"""Simulation of Spikeloom: Verilator builds, cocotb benches, the virtual board."""
