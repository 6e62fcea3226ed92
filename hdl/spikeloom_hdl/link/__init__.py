"""The host link in gates: UART, COBS, CRC, frames and commands."""
