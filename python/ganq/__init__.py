"""ganq: compiles ONNX language models to small quantized files and runs them.

import ganq
ganq.compile("model.onnx", "model.ganq", scheme="lut", bits=4, calibration=tokens)
print(ganq.load("model.ganq").generate("Once upon a time"))
"""

from ._calibrate import calibrate
from ._compile import compile
from ._model import Model, load
from ._tools import GanqError

__version__ = "0.1.0"
__all__ = ["GanqError", "Model", "calibrate", "compile", "load"]
