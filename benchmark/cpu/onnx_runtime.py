"""ONNX Runtime with 4-bit MatMulNBits as a rival.

As a program, it runs a model once and prints tokens per second as JSON:

    python onnx_runtime.py MODEL THREADS DECODED PROMPT...
"""

import json
import os
import sys
import time

import numpy as np
import onnx
from onnx import helper

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import make_llama  # noqa: E402


def quantize(matrix, block):
    """The node and its constant inputs that ONNX Runtime's quantizer makes of [K, N]."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, matrix.shape[0]])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, matrix.shape[1]])],
        [onnx.numpy_helper.from_array(matrix, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    quantizer = MatMulNBitsQuantizer(model, block_size=block, is_symmetric=True)
    quantizer.process()
    graph = quantizer.model.model.graph
    (node,) = graph.node
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    return node, [arrays[name] for name in node.input[1:]]


def make_model(path, shape, block):
    """The model of make_llama.py with its products quantized and a cache.

    Weights of one shape are quantized once, and every product gets codes of its
    own: ONNX Runtime keeps equal constants once, and would read them from a
    cache.
    """

    class Writer(make_llama.Writer):
        opsets = [helper.make_opsetid("com.microsoft", 1)]
        known = {}
        products = weights = weight_bytes = 0

        def matmul(self, name, x, inputs, outputs, output=None):
            if (inputs, outputs) not in self.known:
                matrix = self.random.standard_normal((inputs, outputs), dtype=np.float32)
                self.known[inputs, outputs] = quantize(matrix * np.float32(inputs**-0.5), block)
            node, arrays = self.known[inputs, outputs]
            self.products += 1
            arrays = [arrays[0] ^ np.uint8(self.products % 256), *arrays[1:]]
            names = [self.array(f"{name}.weight.{i}", a) for i, a in enumerate(arrays)]
            self.weight_bytes += sum(a.nbytes for a in arrays)
            self.weights += inputs * outputs
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            attributes["domain"] = "com.microsoft"
            return self.node("MatMulNBits", [x, *names], output or name + "/MatMul", **attributes)

    options = [f"--{key.replace('_', '-')}={value}" for key, value in shape.items()]
    writer = make_llama.build(make_llama.parse([path, "--cache", *options]), path, Writer)
    return writer.weight_bytes * 8 / writer.weights


def set_accuracy_level(path, target, level):
    """Writes a model with the level of all products changed; it shares the weights' file."""
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            kept = [each for each in node.attribute if each.name != "accuracy_level"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("accuracy_level", level)])
    onnx.save(model, target)


def bench(path, threads, decoded, prompts):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    empty = {
        each.name: onnxruntime.OrtValue.ortvalue_from_numpy(
            np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
        )
        for each in session.get_inputs()
        if each.name != "input_ids"
    }

    def feed(tokens, past):
        """The cache of the next call; the logits stay ONNX Runtime's."""
        ids = onnxruntime.OrtValue.ortvalue_from_numpy(np.array([tokens], np.int64))
        outputs = session.run_with_ort_values(names, {"input_ids": ids, **past})
        return {
            name.replace("present", "past"): value
            for name, value in zip(names, outputs)
            if name != "logits"
        }

    result = {"prefill": {}}
    feed(range(1, 33), empty)  # warms up
    for length in prompts:
        start = time.perf_counter()
        feed([i * 7919 % 1000 + 1 for i in range(length)], empty)
        result["prefill"][str(length)] = length / (time.perf_counter() - start)
    past = feed([1], empty)
    start = time.perf_counter()
    for i in range(decoded):
        past = feed([i + 2], past)
    result["decode"] = decoded / (time.perf_counter() - start)
    return result


if __name__ == "__main__":
    path, threads, decoded, *prompts = sys.argv[1:]
    print(json.dumps(bench(path, int(threads), int(decoded), list(map(int, prompts)))))
