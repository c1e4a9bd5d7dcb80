"""C99 firmware of a run: the learner itself, for a microcontroller or the host."""
