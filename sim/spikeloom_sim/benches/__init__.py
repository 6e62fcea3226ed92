"""One cocotb bench a core; ``designs(seed)`` of a bench lists what it is run on."""
