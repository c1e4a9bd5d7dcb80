"""The simulated chip: cycles, bytes and joules of learning on a PULP microcontroller."""
