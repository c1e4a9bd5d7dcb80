"""ONNX graphs of an integer stage; they need the extra qlrjax[onnx]."""
