"""Two files for the studies fashion-first-half and fashion-second-half: all training images of Fashion-MNIST's first
five classes, and 100 of each of the last five with the test images of those.

    python examples/fashion_halves.py ~/data    # reads image/fashion_mnist/ there, and writes beside it
"""

import gzip
import sys
from pathlib import Path

import numpy as np

A_CLASS = 100  # 50 to learn from, and 50 to choose by

folder = Path(sys.argv[1]) / "image"


def read(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, which follow headers of 16 and of 8 bytes."""
    pixels, labels = (
        gzip.decompress((folder / "fashion_mnist" / f"{part}-{name}-ubyte.gz").read_bytes())
        for name in ("images-idx3", "labels-idx1")
    )
    return np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


(images, labels), (test_images, test_labels) = read("train"), read("t10k")
first, tested = labels < 5, test_labels >= 5
few = np.concatenate([np.flatnonzero(labels == label)[:A_CLASS] for label in range(5, 10)])
np.savez_compressed(folder / "fashion-first-half.npz", X=images[first], y=labels[first])
np.savez_compressed(
    folder / "fashion-second-half.npz",
    X_train=images[few],
    y_train=labels[few],
    X_test=test_images[tested],
    y_test=test_labels[tested],
)
print(f"{first.sum()} images of the first half, {len(few)} and {tested.sum()} to test on of the second, in {folder}")
