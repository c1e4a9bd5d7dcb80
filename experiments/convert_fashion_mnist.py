"""Makes the built-in images: a fixed subset of Fashion-MNIST.

Source: Debian's package dataset-fashion-mnist (Zalando Research, MIT licence), files under
usr/share/datasets/fashion-mnist. Kept: the first 400 training and the first 100 test images of
every class, 28x28 grey, in the order of the files.

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist*.deb fashion
    python experiments/convert_fashion_mnist.py fashion/usr/share/datasets/fashion-mnist \
        src/qlrjax/assets/fashion_mnist.npz
"""

import argparse
import gzip
import hashlib
from pathlib import Path

import numpy as np

from qlrjax import report


def read_idx(path: Path) -> np.ndarray:
    """An array of the IDX format: magic, dimensions, then bytes."""
    data = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def subset(folder: Path, prefix: str, count: int) -> np.ndarray:
    """uint8[10, count, 28, 28]: the first images of every class."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return np.stack([images[np.flatnonzero(labels == label)[:count]] for label in range(10)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arrays = {
        "train": subset(arguments.folder, "train", 400),
        "test": subset(arguments.folder, "t10k", 100),
    }
    report.write_npz(arguments.out, arrays)
    print(f"{arguments.out}: SHA-256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
