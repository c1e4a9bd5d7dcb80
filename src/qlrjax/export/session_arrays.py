"""What a session learned, as named plain arrays beside the frozen stage."""

from collections.abc import Sequence

import numpy as np

from qlrjax.integer.quantize import QuantizedStage
from qlrjax.training.learner import Learner, LearnerState, predicting


def learned(
    quantized: QuantizedStage, learner: Learner, state: LearnerState, class_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Arrays of everything above the cut.

    Returns:
        "ranges" (real value of code 255 of every frozen layer), "latent_max", "class_names"; where
        values can be negative also "zeros" (codes of zero) and "latent_min", and ranges are spans;
        "adaptive.LAYER.FIELD" with weight, gamma, beta, mean and std, or with weight and bias;
        "head" [C, classes], the one to predict with; "head_bias" and "head_power" where a distance
        head has them, see `strategies.distance`, and "head_bias" too where features are centered;
        "replay.data" (packed), "replay.labels", "replay.filled", "replay.bits".
    """
    params = predicting(learner, state)
    memory = state.memory
    arrays = {
        "ranges": np.asarray(quantized.ranges, np.float64),
        "latent_max": np.asarray(memory.latent_max, np.float64),
        "class_names": np.asarray(class_names, np.str_),
        "head": np.asarray(params["head"]),
        "replay.data": np.asarray(memory.data),
        "replay.labels": np.asarray(memory.labels),
        "replay.filled": np.asarray(memory.filled),
        "replay.bits": np.asarray(memory.bits),
        "replay.shape": np.asarray(memory.shape),
    }
    bias = params.get("bias")
    if "center" in params:  # (x - center) w + bias = x w + (bias - center w)
        bias = (0.0 if bias is None else bias) - params["center"] @ params["head"]
    if bias is not None:
        arrays["head_bias"] = np.asarray(bias)
    if "power" in params:
        arrays["head_power"] = np.asarray(params["power"])
    statistics = state.training.statistics
    if quantized.zeros:
        arrays |= {
            "zeros": np.asarray(quantized.zeros, np.int64),
            "latent_min": np.asarray(memory.latent_min, np.float64),
        }
    for name, own in params["layers"].items():
        for field, value in (own | statistics.get(name, {})).items():
            arrays[f"adaptive.{name}.{field}"] = np.asarray(value)
    return arrays
