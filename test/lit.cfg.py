# Configuration of the lit suite.

import os

import lit.formats
import lit.util

config.name = "ganq"
config.test_format = lit.formats.ShTest(not lit.util.which("bash"))
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "CMakeLists.txt", "Conformance", "EndToEnd"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.ganq_build_dir, "test")
config.environment["PATH"] = os.pathsep.join(
    [config.ganq_tools_dir, config.llvm_tools_dir, config.environment["PATH"]]
)
config.substitutions.append(("%{python}", config.python))
config.substitutions.append(
    ("%{generated_docs}", os.path.join(config.ganq_build_dir, "docs", "generated"))
)
config.substitutions.append(
    ("%{docs}", os.path.join(os.path.dirname(config.test_source_root), "docs"))
)

if config.python and os.path.exists(config.python):
    config.available_features.add("onnx-python")

# The assembler of a CUDA toolkit, where the compiler looks for it.
if lit.util.which("ptxas") or os.path.exists("/usr/local/cuda/bin/ptxas"):
    config.available_features.add("ptxas")
