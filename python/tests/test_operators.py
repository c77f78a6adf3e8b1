"""What `ganq calibrate` computes for each operator, against ONNX's own cases and ONNX Runtime."""

import importlib
import importlib.util
from collections import defaultdict

import numpy as np
import pytest

try:
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper

    from ganq import GanqError
    from ganq._learn import operators
    from ganq._learn.graph import Node
    from ganq._learn.operators.registry import _TABLE
    from ganq._learn.weights import to_tensor
except ImportError as error:
    pytest.skip(f"operators cannot be tested: {error}", allow_module_level=True)

torch.set_num_threads(1)


def run_node(node, operands, opset=23, device=None, gradients=False):
    """The results of a NodeProto on arrays, with the parts that the graph would have."""
    op = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            attributes[name] = value.decode()
        elif isinstance(value, TensorProto):
            attributes[name] = to_tensor(numpy_helper.to_array(value))
    values = {"": None}
    for name, operand in zip(node.input, operands):
        value = None if operand is None else to_tensor(operand)
        if value is not None and value.is_floating_point():
            value = value.to(device).requires_grad_(gradients) if device else value.requires_grad_(gradients)
        values[name] = value
    outputs = list(node.output)
    while not outputs[-1]:
        outputs.pop()
    made = Node(op, node.name, list(node.input), outputs, attributes, opset)
    parts = [(op, made.inputs, outputs, attributes)]
    if operators.is_expanded(op):
        parts = operators.expand(made)
    for part, inputs, results, attributes in parts:
        made = Node(part, node.name, inputs, results, attributes, opset)
        values.update(zip(results, operators.apply(made, [values[name] for name in inputs])))
    return [values[name] for name in outputs if name]


# The standard's cases

STANDARD = sorted(op for op in _TABLE if "." not in op) + ["Attention"]
# Not of the standard, or without a case of its own.
WITHOUT_CASES = {"SimplifiedLayerNormalization", "SwiGLU"}
ROUNDED = ("bf16", "bfloat16", "float8", "e4m3", "e5m2", "e8m0", "fp4", "float4", "e2m1", "int4", "int2")


@pytest.fixture(scope="module")
def cases():
    """{operator: [(name, node, opset, [(inputs, outputs)])]}."""
    package = pytest.importorskip("onnx.backend.test.case.node")
    for op in STANDARD:
        name = f"onnx.backend.test.case.node.{op.lower()}"
        if importlib.util.find_spec(name):
            importlib.import_module(name)
    found = defaultdict(list)
    for case in package._NodeTestCases:
        nodes = case.model.graph.node
        # What is rounded to less than f32 gives other results here.
        if len(nodes) == 1 and not any(word in case.name.lower() for word in ROUNDED):
            opset = next(entry.version for entry in case.model.opset_import if not entry.domain)
            found[nodes[0].op_type].append((case.name, nodes[0], opset, case.data_sets))
    return found


def array(value):
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


@pytest.mark.parametrize("op", [op for op in STANDARD if op not in WITHOUT_CASES])
def test_the_standards_cases(cases, op):
    if op not in cases:
        pytest.skip(f"this version of onnx has no case of {op}")
    passed, refused = [], []
    for name, node, opset, data_sets in cases[op]:
        for inputs, outputs in data_sets:
            operands = iter(inputs)
            try:
                got = run_node(node, [array(next(operands)) if x else None for x in node.input], opset)
            except (GanqError, TypeError) as error:  # TypeError: strings are no tensors
                refused.append(f"{name}: {error}")
                continue
            for result, want in zip(got, outputs):
                want = to_tensor(array(want))
                assert result.shape == want.shape, name
                np.testing.assert_allclose(result.double(), want.double(), 1e-3, 1e-5, err_msg=name)
            passed.append(name)
    assert passed, refused


# ONNX Runtime's operators

random = np.random.default_rng(5)


def floats(*shape):
    return random.normal(size=shape).astype(np.float32)


def bytes_of(*shape):
    return random.integers(0, 256, shape).astype(np.uint8)


def integers(high, *shape, dtype=np.int64):
    return random.integers(0, high, shape).astype(dtype)


def angles(rows, half):
    grid = np.outer(np.arange(rows), 0.3 ** np.arange(half))
    return np.cos(grid).astype(np.float32), np.sin(grid).astype(np.float32)


def group_query(heads, groups, size, packed=False, batch=2, length=5, positions=False, **attributes):
    query = floats(batch, length, (heads + 2 * groups if packed else heads) * size)
    rest = [None, None] if packed else [floats(batch, length, groups * size) for _ in range(2)]
    lengths = [np.full((batch, 1), length - 1, np.int32), np.array(length, np.int32)]
    past = [np.zeros((batch, groups, 0, size), np.float32)] * 2
    tables = list(angles(16, size // 2)) if attributes.get("do_rotary") else [None, None]
    places = [np.tile(np.arange(length), (batch, 1))] if positions else []
    return [query, *rest, *past, *lengths, *tables, *places], dict(
        num_heads=heads, kv_num_heads=groups, **attributes
    )


def multi_head(bias=False, scores=None, past=0, **attributes):
    operands = [floats(2, 5, 24) for _ in range(3)]
    operands += [floats(72) if bias else None, None]
    operands += [floats(*scores) if scores else None]
    operands += [floats(2, 3, past, 8) for _ in range(2)] if past else []
    return operands, dict(num_heads=3, **attributes)


def packed(mask=None, past=None, **attributes):
    operands = [floats(2, 5, 16), floats(16, 48), floats(48), mask]
    return operands + ([] if past is None else [past]), dict(num_heads=2, **attributes)


def n_bits(bits, zeros=None, bias=False, n=5, k=40, block=16):
    blocks = -(-k // block)
    zero = {
        None: None,
        "packed": bytes_of(n * -(-blocks * bits // 8)),
        "float": floats(n, blocks),
    }[zeros]
    operands = [floats(2, 3, k), bytes_of(n, blocks, block * bits // 8), floats(n, blocks)]
    operands += [zero, None, floats(n) if bias else None]
    return operands, dict(N=n, K=k, bits=bits, block_size=block)


HIDDEN = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
MICROSOFT = {
    "GroupQueryAttention": [
        group_query(4, 2, 8),
        group_query(4, 1, 8, scale=0.2),
        group_query(4, 2, 16, packed=True),
        group_query(4, 2, 16, do_rotary=1),
        group_query(2, 2, 16, do_rotary=1, rotary_interleaved=1, positions=True),
        group_query(4, 2, 16, packed=True, do_rotary=1, batch=1),
    ],
    "MultiHeadAttention": [
        multi_head(),
        multi_head(bias=True, unidirectional=1),
        multi_head(scores=(2, 3, 5, 5), scale=0.5),
        multi_head(scores=(1, 1, 5, 8), past=3),
    ],
    "Attention": [
        packed(),
        packed(unidirectional=1),
        packed(HIDDEN, mask_filter_value=-100.0, scale=0.3),
        packed(unidirectional=1, past=floats(2, 2, 2, 3, 8)),
    ],
    "RotaryEmbedding": [
        ([floats(2, 3, 5, 8), integers(16, 2, 5), *angles(16, 4)], {}),
        ([floats(2, 5, 24), np.array([3]), *angles(16, 4)], dict(interleaved=1)),
        ([floats(2, 5, 24), integers(16, 2, 5), *angles(16, 3)], dict(num_heads=3, rotary_embedding_dim=6)),
    ],
    "SkipLayerNormalization": [
        ([floats(2, 3, 8), floats(2, 3, 8), floats(8), floats(8), floats(8)], dict(epsilon=1e-3)),
        ([floats(2, 3, 8), floats(2, 3, 8), floats(8)], {}),
    ],
    "SkipSimplifiedLayerNormalization": [
        ([floats(2, 3, 8), floats(2, 3, 8), floats(8), floats(8)], dict(epsilon=1e-3)),
        ([floats(2, 3, 8), floats(2, 3, 8), floats(8)], {}),
    ],
    "EmbedLayerNormalization": [
        (
            [integers(9, 2, 5, dtype=np.int32), None, floats(9, 8), floats(7, 8), None, floats(8), floats(8)],
            {},
        ),
        (
            [integers(9, 2, 5, dtype=np.int32), integers(2, 2, 5, dtype=np.int32)]
            + [floats(9, 8), floats(7, 8), floats(2, 8), floats(8), floats(8)]
            + [HIDDEN, integers(7, 2, 5, dtype=np.int32)],
            dict(epsilon=1e-3),
        ),
    ],
    "FastGelu": [([floats(3, 8)], {}), ([floats(3, 8), floats(8)], {})],
    "BiasGelu": [([floats(3, 8), floats(8)], {})],
    "Gelu": [([floats(3, 8)], {})],
    "QuickGelu": [([floats(3, 8)], {}), ([floats(3, 8)], dict(alpha=1.0))],
    "FusedMatMul": [
        ([floats(2, 3, 4), floats(2, 4, 5)], dict(alpha=0.5)),
        ([floats(2, 4, 3), floats(2, 5, 4)], dict(transA=1, transB=1)),
    ],
    "MatMulNBits": [
        n_bits(4),
        n_bits(2, "packed"),
        n_bits(8, "packed", block=32),
        n_bits(4, "float", bias=True),
        n_bits(4, "packed", bias=True),
    ],
    "MatMulBnb4": [
        (
            [floats(2, 3, 16), bytes_of(40), np.abs(floats(5))],
            dict(N=5, K=16, block_size=16, quant_type=kind),
        )
        for kind in (0, 1)
    ],
    "GatherBlockQuantized": [
        ([bytes_of(7, 16), integers(7, 2, 3), floats(7, 2), bytes_of(7, 1)], dict(block_size=16, bits=4)),
        ([bytes_of(7, 32), integers(7, 2, 3), floats(7, 1)], dict(block_size=32, bits=8)),
    ],
}
RESULTS = {
    "GroupQueryAttention": ["y", "k", "v"],
    "MultiHeadAttention": ["y", "k", "v"],
    "SkipLayerNormalization": ["y", "", "", "sum"],
    "SkipSimplifiedLayerNormalization": ["y", "", "", "sum"],
    "EmbedLayerNormalization": ["y", "mask", "sum"],
}
CASES = [
    pytest.param("com.microsoft", op, 1, *case, id=f"{op}-{i}")
    for op, listed in MICROSOFT.items()
    for i, case in enumerate(listed)
] + [
    pytest.param("", "SimplifiedLayerNormalization", 17, [floats(2, 3, 8), floats(8)], {}, id="simplified"),
]


def make_node(domain, op, operands, attributes, results=None):
    names = ["" if x is None else f"i{i}" for i, x in enumerate(operands)]
    return helper.make_node(op, names, results or RESULTS.get(op, ["y"]), "n", domain=domain, **attributes)


@pytest.mark.parametrize("domain,op,opset,operands,attributes", CASES)
def test_onnx_runtimes_operators(tmp_path, domain, op, opset, operands, attributes):
    onnxruntime = pytest.importorskip("onnxruntime")
    results = RESULTS.get(op, ["y"])
    if op == "EmbedLayerNormalization" and len(operands) < 8:
        results = ["y", "mask"]
    if op == "Attention" and len(operands) > 4:
        results = ["y", "present"]
    node = make_node(domain, op, operands, attributes, results)
    present = {f"i{i}": x for i, x in enumerate(operands) if x is not None}
    constant = {"Attention": ["i1", "i2"], "MatMulNBits": ["i1", "i2", "i3"], "MatMulBnb4": ["i1", "i2"]}
    constant = set(constant.get(op, [])) & set(present)
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for name, x in present.items()
            if name not in constant
        ],
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT32 if name == "mask" else TensorProto.FLOAT, None
            )
            for name in results
            if name
        ],
        [numpy_helper.from_array(present[name], name) for name in constant],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {name: x for name, x in present.items() if name not in constant})
    got = run_node(node, operands, opset)
    assert len(got) == len(wanted)
    for result, want in zip(got, wanted):
        np.testing.assert_allclose(result.numpy(), want, 2e-4, 2e-5)


def test_attention_may_have_no_bias():
    (x, weight, bias, _), attributes = packed()
    without, zero = (
        run_node(make_node("com.microsoft", "Attention", operands, attributes, ["y"]), operands)[0]
        for operands in ([x, weight], [x, weight, 0 * bias])
    )
    assert torch.equal(without, zero)


def test_every_fused_operator_is_tested():
    known = {op.split(".")[-1] for op in _TABLE if op.startswith("com.microsoft.")}
    fused = {op.split(".")[-1] for op in operators.fused._EXPANSIONS}
    assert known | fused == set(MICROSOFT)


@pytest.mark.parametrize("domain,op,opset,operands,attributes", CASES)
def test_values_stay_on_their_device(domain, op, opset, operands, attributes):
    """With the data on another device, results are there too: nothing is made on the CPU instead."""
    node = make_node(domain, op, operands, attributes)
    for here, there in zip(run_node(node, operands, opset), run_node(node, operands, opset, device="meta")):
        assert there.shape == here.shape and there.dtype == here.dtype
        assert there.device.type == ("meta" if here.is_floating_point() else "cpu")


@pytest.mark.parametrize("domain,op,opset,operands,attributes", CASES)
def test_gradients_are_finite(domain, op, opset, operands, attributes):
    results = run_node(make_node(domain, op, operands, attributes), operands, opset, gradients=True)
    floating = [result for result in results if result.is_floating_point() and result.requires_grad]
    inputs = [x.grad_fn for x in floating]
    assert inputs
    sum(result.square().sum() for result in floating).backward()


@pytest.mark.parametrize(
    "op,operands,attributes,message",
    [
        ("GroupQueryAttention", *group_query(4, 2, 8, softcap=3.0), "the attribute 'softcap'"),
        ("GroupQueryAttention", *group_query(4, 2, 8, local_window_size=4), "'local_window_size'"),
        ("GroupQueryAttention", *group_query(4, 2, 8, k_quant_type="x"), "'k_quant_type'"),
        ("GroupQueryAttention", *group_query(3, 2, 8), "heads of keys"),
        ("MultiHeadAttention", [floats(2, 5, 3, 3, 8)], dict(num_heads=3), "packed queries"),
        ("Attention", *packed(qkv_hidden_sizes=[16, 16, 16]), "'qkv_hidden_sizes'"),
        ("Attention", *packed(np.array([5, 5], np.int32)), r"mask \[batch, keys\]"),
        ("MatMulNBits", *n_bits(4)[:1], dict(N=5, K=40, bits=3, block_size=16), "bits other than"),
    ],
)
def test_what_is_not_known_is_refused(op, operands, attributes, message):
    with pytest.raises(GanqError, match=f"{message}.*'n'|'n'.*{message}"):
        run_node(make_node("com.microsoft", op, operands, attributes), operands)


def test_indices_outside_are_named():
    node = helper.make_node("Gather", ["x", "i"], ["y"], "look_up")
    with pytest.raises(
        GanqError, match=r"look_up.*indices from -4 to 3, but got 0 to 4.*longer than the mod"
    ):
        run_node(node, [floats(4, 2), np.array([0, 4])])
