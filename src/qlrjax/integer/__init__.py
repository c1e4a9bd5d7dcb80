"""The integer side: fixed point, the bit-level contract, the frozen stage and its quantization."""
