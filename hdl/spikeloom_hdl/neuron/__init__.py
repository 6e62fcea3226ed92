"""The SpikePack neuron in gates: accumulate, then fire."""
