"""Carrying a session's result elsewhere: ONNX, C and plain arrays.

`onnx_exact` and `onnx_qdq` need the extra qlrjax[onnx] and are imported only when asked for.
"""
