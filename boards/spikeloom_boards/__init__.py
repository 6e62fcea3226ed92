"""Boards of Spikeloom: pins, clocks, tools and bitstreams."""
