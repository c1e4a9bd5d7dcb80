"""Where images and the order of learning events come from."""
