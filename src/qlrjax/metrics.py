"""Continual-learning metrics, all from one accuracy matrix.

Row e of the matrix is the accuracy on every class's test images after event e, a share of 1; rows
that were not tested are NaN. `introduced[c]` is the event that first brought class c.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Summary:
    """Percent and percentage points, after the last tested event.

    Attributes:
        accuracy: Share of all test images that are right.
        seen_accuracy: Mean over the classes learned so far.
        average_accuracy: Mean of `seen_accuracy` over all tested events.
        forgetting: Mean over learned classes of (best earlier accuracy - last accuracy); a class
            tested only once since it was learned does not count.
        backward_transfer: Mean over learned classes of (last accuracy - accuracy at the first test
            since the class was learned); negative when later events hurt.
    """

    accuracy: float
    seen_accuracy: float
    average_accuracy: float
    forgetting: float
    backward_transfer: float


def summarize(
    matrix: Float[np.ndarray, "events classes"],
    introduced: Int[np.ndarray, " classes"],
    test_counts: Int[np.ndarray, " classes"],
) -> Summary:
    """Metrics of a session.

    Args:
        matrix: See the module.
        introduced: See the module; an event beyond the matrix means never.
        test_counts: Test images of every class; classes without any are left out.

    Raises:
        ValueError: No row was tested, so there is nothing to summarize.
    """
    rows = np.flatnonzero(~np.isnan(matrix).all(axis=1))
    if rows.size == 0:
        raise ValueError("no event was tested; lower evaluate_every or learn at least one event")
    tested = test_counts > 0
    seen_means, drops, transfers = [], [], []
    for row in rows:
        seen = tested & (introduced <= row)
        if seen.any():
            seen_means.append(matrix[row, seen].mean())
    last = rows[-1]
    for label in np.flatnonzero(tested & (introduced <= last)):
        history = matrix[rows[rows >= introduced[label]], label]
        if history.size > 1:
            drops.append(history[:-1].max() - history[-1])
            transfers.append(history[-1] - history[0])
    shares = test_counts[tested] / test_counts[tested].sum()
    return Summary(
        accuracy=100 * float(shares @ matrix[last, tested]),
        seen_accuracy=100 * float(seen_means[-1]) if seen_means else 0.0,
        average_accuracy=100 * float(np.mean(seen_means)) if seen_means else 0.0,
        forgetting=100 * float(np.mean(drops)) if drops else 0.0,
        backward_transfer=100 * float(np.mean(transfers)) if transfers else 0.0,
    )


@dataclasses.dataclass(frozen=True)
class Standard:
    """Metrics under their names in the literature, percent and percentage points.

    The tasks of those definitions are the classes here: a class is learned when its first images
    come, and its accuracy is the share of its test images that are right among all classes.

    Attributes:
        acc: ACC, mean accuracy of all classes after the last event (Lopez-Paz and Ranzato, NeurIPS
            2017; Avalanche's stream accuracy where tests have as many images of each class).
        bwt: BWT, mean of (last accuracy - accuracy when the class was learned).
        fwt: FWT, mean over classes that did not come first of (accuracy in the last test before the
            class came - chance, 1 / tested classes); 0 where nothing was tested before one came.
        forgetting: Mean of (best earlier accuracy - last accuracy) (Chaudhry et al., ECCV 2018).
        learning_accuracy: LA, mean accuracy at the first test since the class was learned (Riemer
            et al., ICLR 2019).
    """

    acc: float
    bwt: float
    fwt: float
    forgetting: float
    learning_accuracy: float


def standard(
    matrix: Float[np.ndarray, "events classes"],
    introduced: Int[np.ndarray, " classes"],
    test_counts: Int[np.ndarray, " classes"],
) -> Standard:
    """The metrics that other frameworks report; arguments and errors as `summarize`."""
    summary = summarize(matrix, introduced, test_counts)
    rows = np.flatnonzero(~np.isnan(matrix).all(axis=1))
    learned, ahead = [], []
    chance = 1 / np.count_nonzero(test_counts)
    for label in np.flatnonzero((test_counts > 0) & (introduced <= rows[-1])):
        since = rows[rows >= introduced[label]]
        learned.append(matrix[since[0], label])
        before = rows[rows < introduced[label]]
        if before.size:
            ahead.append(matrix[before[-1], label] - chance)
    return Standard(
        acc=summary.seen_accuracy,
        bwt=summary.backward_transfer,
        fwt=100 * float(np.mean(ahead)) if ahead else 0.0,
        forgetting=summary.forgetting,
        learning_accuracy=100 * float(np.mean(learned)) if learned else 0.0,
    )
