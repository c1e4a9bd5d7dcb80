"""Many sessions at once, and what they answer: sweeps, the design space, the report."""
