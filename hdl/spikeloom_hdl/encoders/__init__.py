"""Streaming spike encoders and decoders in gates: the bits of the golden models."""
