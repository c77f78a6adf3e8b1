"""Learned calibration: needs the extra `ganq[learn]` (PyTorch, onnx, safetensors).

graph.py      an ONNX model as nodes, constants, products with weights, and decoder blocks
weights.py    constants, read when they are asked for
branches.py   If nodes as the branch that is taken
names.py      keys of weights
operators     what each ONNX operator computes, with PyTorch
quantize.py   the rounding of the compiler's uniform scheme, with gradients
learn.py      block-wise reconstruction of the learned parameters
choose.py     how long and how fast a block is learned
plan.py       what a run needs of memory and disk
store.py      what was learned, on disk
calibrate.py  all of it, for one model

docs/LearnedCalibration.md has the maths.
"""
