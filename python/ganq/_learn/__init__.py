"""Learned calibration: needs the extra `ganq[learn]` (PyTorch, onnx, safetensors).

graph.py      an ONNX model as nodes, constants, products with weights, and decoder blocks
names.py      keys of weights
operators.py  what each ONNX operator computes, with PyTorch
quantize.py   the rounding of the compiler's uniform scheme, with gradients
learn.py      block-wise reconstruction of the learned parameters
store.py      what was learned, on disk
calibrate.py  all of it, for one model

docs/LearnedCalibration.md has the maths.
"""
