"""Integer golden models: the specification of the cores, executable.

The rules are in the docstrings of ``spikeloom.hardware.encoders``; everything is int64.
"""
