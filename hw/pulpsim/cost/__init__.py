"""A pass in cycles, bytes and joules: platforms, transfers, contention, tiles and their search."""
