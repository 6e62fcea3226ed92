"""Studies and pictures of spiking networks."""
