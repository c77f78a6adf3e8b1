"""Keys of weights: the rules of the compiler's importer (docs/Onnx.md, Weights)."""

import re

_MADE_UP = re.compile(
    r"(.*::.*|[0-9]+|(val|t|v|w|node|const|constant|Constant|tensor|initializer|fused)_?[0-9]+)"
)
# Smaller tensors are no parameters for the compiler.
MIN_BYTES = 1024


def _role(op, index):
    if op in ("MatMul", "Gemm", "Conv", "FusedMatMul", "MatMulInteger") or op.endswith("Normalization"):
        return "weight" if index == 1 else "bias"
    if op == "MatMulNBits":
        return {0: "bias", 1: "weight", 2: "scales", 3: "zero_points"}.get(index, "group_index")
    if op in ("Transpose", "Gather", "Cast", "DequantizeLinear"):
        return {0: "weight", 1: "scales"}.get(index, "zero_points")
    return "bias" if op == "Add" else "constant"


def _module_path(node):
    parts = [part for part in node.name.split("/") if part]
    if len(parts) < 2:
        return ""
    if parts[-1].startswith(node.op_type):
        parts.pop()
    return ".".join(parts)


def _folded_from(info):
    for entry in info.metadata_props:
        if entry.key == "pkg.onnxscript.optimizer.folded_from":
            name = entry.value.strip("[]{}()'\" ")
            return "" if "," in name else name
    return ""


def weight_keys(graph, sizes):
    """{name: key} of the constants of a GraphProto; `sizes` is {name: bytes}, initializers first."""
    initializers = [tensor.name for tensor in graph.initializer]
    made_up = {name for name in initializers if _MADE_UP.fullmatch(name)}
    used = {name for name in initializers if name and name not in made_up}
    proposals = {}
    for info in graph.value_info:
        if info.name in made_up and _folded_from(info):
            proposals.setdefault(info.name, _folded_from(info))
    read = {info.name for info in graph.output}
    for node in graph.node:
        read.update(node.input)
        for index, name in enumerate(node.input):
            if name in made_up and name not in proposals and _module_path(node):
                proposals[name] = f"{_module_path(node)}.{_role(node.op_type, index)}"
    keys, real = {}, set(used)
    for name, size in sizes.items():
        if size < MIN_BYTES or name not in read:
            continue
        if name in real:
            real.remove(name)
            keys[name] = name
            continue
        base = key = proposals.get(name, name) or "weight"
        count = 0
        while key in used:
            count += 1
            key = f"{base}.{count}"
        used.add(key)
        keys[name] = key
    return keys
