"""The simulated chip: cycles, bytes and joules of quantized latent replay on a PULP cluster."""
