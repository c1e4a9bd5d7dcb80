"""Which classes are taken for which, against counting by hand."""

import numpy as np
import pytest

from qlrjax import session


@pytest.mark.parametrize(("classes", "count"), [(1, 5), (4, 0), (4, 1), (7, 200), (50, 1000)])
def test_confusion_counts_pairs_in_order(classes, count):
    random = np.random.default_rng(classes)
    labels = random.integers(0, classes, count).astype(np.int32)
    predicted = random.integers(0, classes, count)
    expected = [
        [label, taken, int(((labels == label) & (predicted == taken)).sum())]
        for label in range(classes)
        for taken in range(classes)
        if ((labels == label) & (predicted == taken)).any()
    ]
    assert session.confusion(predicted, labels) == expected
