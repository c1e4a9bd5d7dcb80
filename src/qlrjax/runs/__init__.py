"""A session in a folder: checkpoints, snapshots, locks, lessons from photos."""
