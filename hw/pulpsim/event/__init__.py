"""A learning event: its setting, layers, schedule and memory, what it costs, tables and sweeps."""
