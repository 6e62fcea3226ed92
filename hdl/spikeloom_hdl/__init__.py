"""Gateware of Spikeloom: Amaranth components. Imports spikeloom's plain data, never torch."""
