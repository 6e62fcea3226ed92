"""Plain data that software and gateware share: parameters, memory layout, registers, protocol."""
