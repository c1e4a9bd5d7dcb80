"""Continual learning on microcontrollers with quantized latent replays, in JAX."""
