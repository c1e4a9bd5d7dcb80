"""C99 of a frozen stage, its replay memory and a training step."""
