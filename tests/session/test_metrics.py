"""Continual-learning metrics of small matrices, worked out by hand."""

import numpy as np
import pytest

from qlrjax import metrics
from qlrjax.training import evaluate

NAN = np.nan


def summarize(matrix, introduced, counts):
    return metrics.summarize(
        np.asarray(matrix, np.float32), np.asarray(introduced), np.asarray(counts)
    )


def test_two_classes_three_events():
    """Class 0 goes 0.9, 0.5, 0.6; class 1 is learned in event 1 and goes 0.8, 0.7."""
    summary = summarize([[0.9, 0.1], [0.5, 0.8], [0.6, 0.7]], [0, 1], [30, 10])
    assert summary.accuracy == pytest.approx(100 * (0.75 * 0.6 + 0.25 * 0.7))
    assert summary.seen_accuracy == pytest.approx(65)
    assert summary.average_accuracy == pytest.approx(100 * (0.9 + 0.65 + 0.65) / 3)
    assert summary.forgetting == pytest.approx(100 * (0.3 + 0.1) / 2)
    assert summary.backward_transfer == pytest.approx(100 * (-0.3 - 0.1) / 2)


def test_rows_that_were_not_tested_are_skipped():
    """The same with untested events between, whose numbers move the events of introduction."""
    matrix = [[NAN] * 2, [0.9, 0.1], [NAN] * 2, [0.5, 0.8], [0.6, 0.7], [NAN] * 2]
    summary = summarize(matrix, [0, 2], [30, 10])
    plain = summarize([[0.9, 0.1], [0.5, 0.8], [0.6, 0.7]], [0, 1], [30, 10])
    assert summary == plain


def test_gains_are_negative_forgetting_and_positive_transfer():
    summary = summarize([[0.4], [0.7]], [0], [5])
    assert summary.forgetting == pytest.approx(-30)
    assert summary.backward_transfer == pytest.approx(30)


def test_one_test_only():
    summary = summarize([[NAN, NAN], [0.5, 0.2]], [0, 1], [1, 1])
    assert (summary.forgetting, summary.backward_transfer) == (0.0, 0.0)
    assert summary.seen_accuracy == summary.average_accuracy == pytest.approx(35)


def test_classes_never_learned_or_without_test_images():
    """Class 1 is never learned, class 2 has no test images: NaN in its column does no harm."""
    matrix = [[1.0, 0.0, NAN], [0.8, 0.0, NAN]]
    summary = summarize(matrix, [0, 2, 1], [10, 10, 0])
    assert summary.accuracy == pytest.approx(40)
    assert summary.seen_accuracy == pytest.approx(80)
    assert summary.forgetting == pytest.approx(20)


def test_nothing_tested_is_an_error():
    with pytest.raises(ValueError, match="no event was tested"):
        summarize([[NAN, NAN]], [0, 0], [1, 1])


def test_class_accuracy():
    predicted, labels = np.array([0, 1, 1, 3]), np.array([0, 0, 1, 3])
    shares = evaluate.class_accuracy(predicted, labels, 5)
    np.testing.assert_array_equal(shares, np.array([0.5, 1, NAN, 1, NAN], np.float32))


def test_standard_names_worked_out_by_hand():
    """Class 0 goes 0.9, 0.5, 0.6; class 1 comes in event 1 (0.1 before) and goes 0.8, 0.7."""
    matrix = np.asarray([[0.9, 0.1], [0.5, 0.8], [0.6, 0.7]], np.float32)
    found = metrics.standard(matrix, np.asarray([0, 1]), np.asarray([30, 10]))
    assert found.acc == pytest.approx(65)  # (0.6 + 0.7) / 2
    assert found.bwt == pytest.approx(100 * ((0.6 - 0.9) + (0.7 - 0.8)) / 2)
    assert found.fwt == pytest.approx(100 * (0.1 - 0.5))  # chance is 1/2
    assert found.forgetting == pytest.approx(100 * ((0.9 - 0.6) + (0.8 - 0.7)) / 2)
    assert found.learning_accuracy == pytest.approx(100 * (0.9 + 0.8) / 2)
    gaps = np.full((6, 2), NAN, np.float32)
    gaps[[1, 3, 4]] = matrix
    assert metrics.standard(gaps, np.asarray([0, 2]), np.asarray([30, 10])) == found


def test_standard_names_without_a_test_before_a_class_came():
    found = metrics.standard(
        np.asarray([[0.4, 0.2]], np.float32), np.asarray([0, 0]), np.asarray([1, 1])
    )
    assert (found.fwt, found.bwt) == (0.0, 0.0)
    assert found.learning_accuracy == found.acc == pytest.approx(30)
