"""Photos for tests: made, not stored."""

import numpy as np
from PIL import Image


def photo(path, colour=(250, 10, 10), seed=0, size=(60, 40), **options):
    """A photo of one colour with a texture; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    pixels[:, ::4] = np.random.default_rng(seed).integers(0, 40)
    Image.fromarray(pixels).save(path, **options)
    return path


def labelled(root, classes, sessions=("s1", "s2"), shots=4):
    """session/class/N.png, a colour a class."""
    for place, name in enumerate(classes):
        colour = tuple(np.random.default_rng([7, place]).integers(40, 250, 3).tolist())
        for session in sessions:
            for shot in range(shots):
                seed = 1000 * place + 10 * shot + len(session) + ord(session[-1])
                photo(root / session / name / f"{shot}.png", colour, seed)
    return root


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
