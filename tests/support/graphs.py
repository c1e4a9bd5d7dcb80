"""Small networks that are no chains."""

from qlrjax.network.build import Builder, Window, square


def own():
    """Both poolings, a bias, an add of the stem, inverted residuals above a linear bottleneck."""
    build = Builder((13, 11, 3), "tensorflow")
    build.append("stem", "conv", 6, window=Window((5, 3), 2), activation="relu")
    build.append("most", "max_pool", window=Window((3, 2), 1, ((1, 1), (0, 1))))
    build.append("inner", "conv", 6, window=square(3), activation="relu6", batch_norm=False)
    build.append("mean", "average_pool", window=Window((2, 3), 1, ((0, 1), (1, 1))))
    build.append("sum", "add", inputs=("most", "mean"), activation="relu")
    build.append("second", "add", inputs=("stem", "sum"))
    build.append("expand", "pointwise", 10, activation="relu6")
    build.append("dw", "depthwise", window=square(5, 2), activation="relu")
    build.append("project", "pointwise", 7)
    return build.finish(
        5, bn_epsilon=1e-3, pixel_mean=(120.0,) * 3, pixel_std=(60.0,) * 3, name="own"
    )
