"""Layers in gates: streams of packed words in, streams of packed words out."""
