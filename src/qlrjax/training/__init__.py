"""The learning side: adaptive stage, replay memory, mini-batches, one event as a pure function."""
