"""Input that cannot be used: an error with a message, and no output file."""

import json
import os
import random
import re
import resource
import signal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conftest import DEMO, run_tool

# What no message to a user holds: crashes and the compiler's insides.
INSIDES = re.compile(
    "PLEASE submit|Stack dump|Assertion|LLVM ERROR|terminate called|bad_alloc|internal error|compilation failed|"
    "see current operation|<unknown>|failed to legalize|loc\\(|'(arith|linalg|memref|tensor|scf|llvm)\\."
)


def expect_error(result):
    """The message of a tool that must have failed cleanly: one error, no crash."""
    assert 0 < result.returncode < 128, f"expected an error, but got {result.returncode}\n{result.stderr}"
    assert result.stderr.count("error: ") == 1, result.stderr
    assert not INSIDES.search(result.stderr), result.stderr
    return result.stderr


def refuse(directory, model, *options, tool="ganq-compile", **run_options):
    """The message of a compilation that must fail and leave nothing behind."""
    output = directory / "refused.ganq"
    before = set(os.listdir(directory))
    result = run_tool(tool, model, "-o", output, *options, check=False, **run_options)
    message = expect_error(result)
    assert set(os.listdir(directory)) == before
    return message


def linear_model(path, nodes=None, inputs=None, initializer=None, **external):
    """Writes y = x w; with `location=...` the weight is external."""
    weight = initializer or helper.make_tensor(
        "w", TensorProto.FLOAT, [8, 4], np.ones(32, np.float32).tobytes(), raw=True
    )
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in external.items():
            weight.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"], name="linear")],
        "g",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )
    return path


def test_the_linear_model_itself_compiles(tmp_path):
    model = linear_model(tmp_path / "m.onnx")
    run_tool("ganq-compile", model, "-o", tmp_path / "m.ganq", "--scheme=none")
    (tmp_path / "w.bin").write_bytes(np.ones(32, np.float32).tobytes())
    model = linear_model(tmp_path / "e.onnx", location="w.bin", offset=0, length=128)
    run_tool("ganq-compile", model, "-o", tmp_path / "e.ganq", "--scheme=none")


def test_missing_model(tmp_path):
    assert "none.onnx" in refuse(tmp_path, tmp_path / "none.onnx", "--scheme=none")


@pytest.mark.parametrize("content", [b"", b"hello, this is no model\n" * 20, bytes(range(256)) * 8])
def test_not_an_onnx_file(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    refuse(tmp_path, tmp_path / "m.onnx", "--scheme=none")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
def test_truncated_protobuf(tmp_path, keep):
    content = (DEMO / "model.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: int(len(content) * keep)])
    refuse(tmp_path, tmp_path / "m.onnx", "--scheme=none")


def test_truncated_everywhere(tmp_path):
    content = linear_model(tmp_path / "whole.onnx").read_bytes()
    for length in range(1, len(content), 5):
        (tmp_path / "m.onnx").write_bytes(content[:length])
        result = run_tool("ganq-compile", tmp_path / "m.onnx", "-o", tmp_path / "m.ganq", check=False)
        # A cut between the fields of the message loses only the last of them.
        if result.returncode != 0:
            expect_error(result)
            assert sorted(os.listdir(tmp_path)) == ["m.onnx", "whole.onnx"]
        (tmp_path / "m.ganq").unlink(missing_ok=True)


def test_folder_pipe_and_unreadable_file(tmp_path):
    (tmp_path / "folder").mkdir()
    assert "folder" in refuse(tmp_path, tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in refuse(tmp_path, tmp_path / "pipe")
    (tmp_path / "m.onnx").symlink_to(tmp_path / "gone.onnx")
    refuse(tmp_path, tmp_path / "m.onnx")


def test_external_data_missing(tmp_path):
    model = linear_model(tmp_path / "m.onnx", location="gone.bin", offset=0, length=128)
    assert "gone.bin" in refuse(tmp_path, model, "--scheme=none")


def test_external_data_short(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 100)
    model = linear_model(tmp_path / "m.onnx", location="w.bin", offset=0, length=128)
    refuse(tmp_path, model, "--scheme=none")


def test_external_data_of_the_wrong_length(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 128)
    model = linear_model(tmp_path / "m.onnx", location="w.bin", offset=0, length=64)
    refuse(tmp_path, model, "--scheme=none")


@pytest.mark.parametrize("location", ["../w.bin", "{absolute}", "folder/../../w.bin"])
def test_external_data_outside(tmp_path, location):
    inner = tmp_path / "inner"
    (inner / "folder").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(b"\0" * 128)
    model = linear_model(
        inner / "m.onnx", location=location.format(absolute=tmp_path / "w.bin"), offset=0, length=128
    )
    refuse(inner, model, "--scheme=none")


def test_external_data_symlink(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 128)
    (inner / "w.bin").symlink_to(tmp_path / "w.bin")
    refuse(inner, linear_model(inner / "m.onnx", location="w.bin", offset=0, length=128), "--scheme=none")


def test_external_data_hard_link(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 128)
    os.link(tmp_path / "w.bin", inner / "w.bin")
    refuse(inner, linear_model(inner / "m.onnx", location="w.bin", offset=0, length=128))


@pytest.mark.parametrize("offset, length", [(-1, 128), (0, 2**62), (2**63 - 1, 128), (64, 128), ("x", 128)])
def test_external_data_ranges(tmp_path, offset, length):
    (tmp_path / "w.bin").write_bytes(b"\0" * 128)
    refuse(tmp_path, linear_model(tmp_path / "m.onnx", location="w.bin", offset=offset, length=length))


def test_unknown_operators_are_counted(tmp_path):
    nodes = [
        helper.make_node("Odd", ["x"], ["a"], name="first", domain="com.example"),
        helper.make_node("Odd", ["a"], ["b"], name="second", domain="com.example"),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    message = refuse(tmp_path, linear_model(tmp_path / "m.onnx", nodes=nodes))
    assert 'op com.example.Odd: 2 nodes ("first", "second")' in message


@pytest.mark.parametrize("type", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.UNDEFINED, 99])
def test_types_that_cannot_be_compiled(tmp_path, type):
    inputs = [helper.make_tensor_value_info("x", type, ["n", 8])]
    assert re.search("[\"']x[\"']", refuse(tmp_path, linear_model(tmp_path / "m.onnx", inputs=inputs)))


def test_unknown_operator_is_named(tmp_path):
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["h"], name="odd"),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    message = refuse(tmp_path, linear_model(tmp_path / "m.onnx", nodes=nodes), "--scheme=none")
    assert "Frobnicate" in message and "odd" in message


def test_wrong_dtype(tmp_path):
    inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 8])]
    refuse(tmp_path, linear_model(tmp_path / "m.onnx", inputs=inputs), "--scheme=none")


def test_shapes_that_do_not_fit(tmp_path):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 7])]
    refuse(tmp_path, linear_model(tmp_path / "m.onnx", inputs=inputs), "--scheme=none")


def test_cyclic_graph(tmp_path):
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    refuse(tmp_path, linear_model(tmp_path / "m.onnx", nodes=nodes), "--scheme=none")


def test_duplicate_names(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="first"),
        helper.make_node("Relu", ["x"], ["y"], name="second"),
    ]
    assert "'y'" in refuse(tmp_path, linear_model(tmp_path / "m.onnx", nodes=nodes))
    nodes = [helper.make_node("Relu", ["x"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert "'w'" in refuse(tmp_path, linear_model(tmp_path / "m.onnx", nodes=nodes))


def field(number, content):
    """A field of a protobuf message: the message classes refuse to nest deeply."""
    if isinstance(content, str):
        content = content.encode()

    def varint(value):
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


@pytest.mark.parametrize("depth", [20, 90, 2000, 20000])
def test_deep_nesting(tmp_path, depth):
    """Loops in loops."""

    def graph(node, level):
        return field(1, node) + field(2, f"g{level}") + field(12, field(1, f"r{level}"))

    inner = graph(field(1, "x") + field(2, "r0") + field(4, "Identity"), 0)
    for level in range(1, depth):
        body = field(1, "body") + field(6, inner) + field(20, 5)
        loop = field(1, "") + field(1, "c") + field(2, f"r{level}") + field(3, f"loop{level}")
        inner = graph(loop + field(4, "Loop") + field(5, body), level)
    model = field(1, 8) + field(7, inner) + field(8, field(1, "") + field(2, 17))
    (tmp_path / "m.onnx").write_bytes(model)
    refuse(tmp_path, tmp_path / "m.onnx")


@pytest.mark.parametrize("size", [-1, -(2**63), 2**40, 2**63 - 1])
def test_sizes_of_initializers(tmp_path, size):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 4], np.ones(32, np.float32).tobytes(), raw=True)
    weight.dims[1] = size
    refuse(tmp_path, linear_model(tmp_path / "m.onnx", initializer=weight))


@pytest.mark.parametrize("size", [0, 3, 5])
def test_initializer_of_another_size(tmp_path, size):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 4], np.ones(32, np.float32).tobytes(), raw=True)
    weight.dims[1] = size
    assert "128" in refuse(tmp_path, linear_model(tmp_path / "m.onnx", initializer=weight))


@pytest.mark.parametrize("sizes", [[-3, 8], [2**62, 8], [2**63 - 1, 8], [0, 8]])
def test_sizes_of_inputs(tmp_path, sizes):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)]
    model = linear_model(tmp_path / "m.onnx", inputs=inputs)
    result = run_tool("ganq-compile", model, "-o", tmp_path / "m.ganq", check=False)
    if result.returncode != 0:
        expect_error(result)


def matrix_model(path, weight):
    return linear_model(
        path,
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weight.shape[0]])],
        initializer=numpy_helper.from_array(weight.astype(np.float32), "w"),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("scheme", ["lut", "uniform"])
def test_weights_that_no_scheme_can_hold(tmp_path, scheme, value):
    weight = np.random.default_rng(0).standard_normal((64, 32))
    weight[3, 5] = value
    message = refuse(
        tmp_path, matrix_model(tmp_path / "m.onnx", weight), f"--scheme={scheme}", "--quantize-head"
    )
    assert "weight 'w': expected" in message and "row 5" in message


@pytest.mark.parametrize("scheme", ["lut", "uniform"])
@pytest.mark.parametrize("shape", [(64, 32), (37, 7), (300, 1), (129, 3)])
@pytest.mark.parametrize("kind", ["zero", "constant", "denormal"])
def test_degenerate_weights_work(tmp_path, scheme, shape, kind):
    weight = np.random.default_rng(0).standard_normal(shape)
    if kind == "denormal":
        weight *= 1e-40
    else:
        weight[:, 0] = 0.0 if kind == "zero" else 3.5
    model = matrix_model(tmp_path / "m.onnx", weight)
    run_tool(
        "ganq-compile", model, "-o", tmp_path / "m.ganq", f"--scheme={scheme}", "--bits=8", "--quantize-head"
    )
    x = np.random.default_rng(1).standard_normal((3, shape[0])).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    run_tool(
        "ganq-run", tmp_path / "m.ganq", f"--inputs={tmp_path / 'x.npy'}", f"--outputs={tmp_path / 'out'}"
    )
    expected = x @ weight.astype(np.float32)
    scale = np.abs(x) @ np.abs(weight).max(0, keepdims=True).repeat(shape[0], 0)
    assert np.all(np.abs(np.load(tmp_path / "out" / "y.npy") - expected) <= 0.02 * scale + 1e-6)


@pytest.mark.parametrize(
    "option",
    [
        "--scheme=magic",
        "--bits=0",
        "--bits=9",
        "--bits=99",
        "--group=7",
        "--compile-to=nowhere",
        "--solver=magic",
        "--bind=other=3",
        "--bind=n=-1",
        "--exclude=matches_nothing",
        "--prefill-chunk=0",
        "--max-context=-1",
        "--gram-memory=0",
        "--gram-memory=17592186045440",
        "--group=-3",
        "--cpu=z80",
        "--target=toaster",
        "--bind=seq",
        "--exclude=[",
    ],
)
def test_bad_option(tmp_path, option):
    scheme = () if option.startswith("--scheme") else ("--scheme=uniform",)
    message = refuse(tmp_path, linear_model(tmp_path / "m.onnx"), *scheme, "--quantize-head", option)
    assert re.search("expected|cannot", message)


@pytest.mark.parametrize(
    "tokens",
    [
        np.full((2, 16), 5000, np.int32),
        np.full((2, 16), -1, np.int32),
        np.zeros((2, 2, 16), np.int32),
        np.zeros((2, 16), np.float32),
        np.zeros((0, 16), np.int32),
        np.zeros((1, 513), np.int32),
        np.array([b"text"]),
    ],
    ids=["large", "negative", "rank", "dtype", "empty", "long", "text"],
)
def test_bad_calibration(tmp_path, tokens):
    np.save(tmp_path / "c.npy", tokens)
    refuse(tmp_path, DEMO / "model.onnx", "--scheme=lut", "--bits=4", f"--calibration={tmp_path / 'c.npy'}")


@pytest.mark.parametrize("keep", [0, 5, 60, 130])
def test_calibration_cut_short(tmp_path, keep):
    np.save(tmp_path / "c.npy", np.zeros((2, 16), np.int32))
    (tmp_path / "c.npy").write_bytes((tmp_path / "c.npy").read_bytes()[:keep])
    message = refuse(tmp_path, DEMO / "model.onnx", "--scheme=lut", f"--calibration={tmp_path / 'c.npy'}")
    assert "c.npy" in message


def test_calibration_missing(tmp_path):
    message = refuse(tmp_path, DEMO / "model.onnx", "--scheme=lut", f"--calibration={tmp_path / 'none.npy'}")
    assert "none.npy" in message


def test_calibration_of_a_model_without_tokens(tmp_path):
    model = matrix_model(tmp_path / "m.onnx", np.ones((64, 32)))
    np.save(tmp_path / "c.npy", np.zeros((2, 16), np.int32))
    refuse(tmp_path, model, "--scheme=lut", "--quantize-head", f"--calibration={tmp_path / 'c.npy'}")


@pytest.mark.parametrize("tokens", [np.full((2, 16), 1024, np.int32), np.full((2, 16), -1, np.int32)])
def test_tokens_out_of_range(tmp_path, compiled, tokens):
    np.save(tmp_path / "t.npy", tokens)
    model = compiled(DEMO / "model.onnx", "--scheme=none")
    result = run_tool("ganq-run", model, "--perplexity", f"--tokens={tmp_path / 't.npy'}", check=False)
    assert result.returncode > 0 and "error" in result.stderr
    np.save(tmp_path / "t.npy", tokens[0])
    result = run_tool("ganq-run", model, "--generate=4", f"--tokens={tmp_path / 't.npy'}", check=False)
    assert result.returncode > 0 and "error" in result.stderr


@pytest.mark.parametrize("keep", [0, 4, 100, 0.3, 0.99])
def test_ganq_file_cut_short(tmp_path, compiled, keep):
    content = compiled(DEMO / "model.onnx", "--scheme=none").read_bytes()
    (tmp_path / "m.ganq").write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    result = run_tool("ganq-run", tmp_path / "m.ganq", "--inspect", check=False)
    assert result.returncode > 0 and "error" in result.stderr


def test_ganq_file_of_another_abi(tmp_path, compiled):
    content = compiled(DEMO / "model.onnx", "--scheme=none").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    manifest = json.loads(header["__metadata__"]["ganq.manifest"])
    manifest["abi"] = manifest["abi"] + 1
    header["__metadata__"]["ganq.manifest"] = json.dumps(manifest, separators=(",", ":"))
    text = json.dumps(header, separators=(",", ":")).encode()
    assert len(text) <= length
    (tmp_path / "m.ganq").write_bytes(content[:8] + text.ljust(length) + content[8 + length :])
    result = run_tool("ganq-run", tmp_path / "m.ganq", "--inspect", check=False)
    assert result.returncode > 0 and "abi" in result.stderr.lower()


@pytest.mark.parametrize("field", ["length", "header", "brace"])
def test_ganq_file_with_a_damaged_header(tmp_path, compiled, field):
    content = bytearray(compiled(DEMO / "model.onnx", "--scheme=none").read_bytes())
    length = int.from_bytes(content[:8], "little")
    chance = random.Random(0)
    for trial in range(40):
        damaged = bytearray(content)
        if field == "length":
            damaged[:8] = chance.choice(
                [0, 1, 7, length - 1, 2**31, 2**63, 2**64 - 1, len(content)]
            ).to_bytes(8, "little")
        elif field == "header":
            damaged[8 + chance.randrange(length)] ^= 1 << chance.randrange(7)
        else:
            damaged[8 + chance.randrange(length)] = ord("{")
        (tmp_path / "m.ganq").write_bytes(damaged)
        result = run_tool("ganq-run", tmp_path / "m.ganq", "--inspect", check=False)
        # A letter of a name can change without harm.
        assert result.returncode >= 0 and not INSIDES.search(result.stderr)
        if result.returncode != 0:
            expect_error(result)
        assert result.returncode != 0 or field != "length"


def limit_files(bytes):
    """For subprocesses: files cannot grow beyond `bytes`, as on a full disk."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))

    return limit


@pytest.mark.parametrize("megabytes", [0, 0.01, 1, 3])
@pytest.mark.parametrize("scheme", ["none", "uniform"])
def test_full_disk(tmp_path, megabytes, scheme):
    limit = limit_files(int(megabytes * 2**20))
    model, output = DEMO / "model.onnx", tmp_path / "m.ganq"
    if scheme == "uniform" and megabytes == 3:
        pytest.skip("the output is smaller")
    result = run_tool(
        "ganq-compile", model, "-o", output, f"--scheme={scheme}", check=False, preexec_fn=limit
    )
    expect_error(result)
    # Layers that are done stay for the next run.
    assert set(os.listdir(tmp_path)) <= {"m.ganq.work"}
    assert not list(tmp_path.rglob("*.tmp*"))


@pytest.mark.parametrize("suffix", ["mlir", "mlirbc"])
def test_full_disk_for_text(tmp_path, suffix):
    for tool, options in [("ganq-compile", ["--compile-to=raise"]), ("ganq-translate", ["--import-onnx"])]:
        result = run_tool(
            tool,
            DEMO / "model.onnx",
            "-o",
            tmp_path / f"m.{suffix}",
            *options,
            check=False,
            preexec_fn=limit_files(4096),
        )
        expect_error(result)
        assert os.listdir(tmp_path) == []


def test_full_disk_for_results(tmp_path, compiled):
    model = compiled(DEMO / "model.onnx", "--scheme=none")
    np.save(tmp_path / "ids.npy", np.zeros((1, 8), np.int64))
    result = run_tool(
        "ganq-run",
        model,
        f"--inputs={tmp_path / 'ids.npy'}",
        f"--outputs={tmp_path / 'out'}",
        check=False,
        preexec_fn=limit_files(1000),
    )
    expect_error(result)
    assert not list((tmp_path / "out").glob("*"))


def test_output_is_the_model(tmp_path):
    model = linear_model(tmp_path / "m.onnx")
    content = model.read_bytes()
    expect_error(run_tool("ganq-compile", model, "-o", model, check=False))
    os.link(model, tmp_path / "same.onnx")
    expect_error(run_tool("ganq-compile", model, "-o", tmp_path / "same.onnx", check=False))
    assert model.read_bytes() == content


def test_output_is_a_folder(tmp_path):
    (tmp_path / "out").mkdir()
    model = linear_model(tmp_path / "m.onnx")
    expect_error(run_tool("ganq-compile", model, "-o", tmp_path / "out", check=False))
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_folder(tmp_path):
    model = linear_model(tmp_path / "m.onnx")
    (tmp_path / "out").mkdir(mode=0o555)
    expect_error(run_tool("ganq-compile", model, "-o", tmp_path / "out" / "m.ganq", check=False))


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--unknown"],
        ["--generate=x"],
        ["--generate=-1"],
        ["--generate=4"],
        ["--generate=1000", "--tokens={ids}"],
        ["--generate=4", "--tokens={rows}"],
        ["--generate=4", "--tokens={none}"],
        ["--generate=4", "--tokens={ids}", "--temperature=nan"],
        ["--generate=4", "--tokens={ids}", "--seed=x"],
        ["--generate=4", "--inspect", "--tokens={ids}"],
        ["--perplexity"],
        ["--perplexity", "--tokens={ids}"],
        ["--perplexity", "--tokens={floats}"],
        ["--perplexity", "--tokens={long}"],
        ["--perplexity", "--tokens={single}"],
        ["--inputs={floats}"],
        ["--inputs={ids}"],
        ["--inputs={long64}"],
        ["--inputs={wild}"],
        ["--inputs=other={rows}"],
        ["--inputs={rows},{rows}"],
        ["--inputs={none}"],
    ],
)
def test_bad_ganq_run_options(tmp_path, compiled, options):
    files = {
        "ids": np.arange(5, dtype=np.int32),
        "rows": np.zeros((2, 5), np.int32),
        "floats": np.zeros((2, 5), np.float32),
        "long": np.zeros((1, 600), np.int32),
        "long64": np.zeros((1, 600), np.int64),
        "single": np.zeros((2, 1), np.int32),
        "wild": np.full((1, 4), 10**12, np.int64),
    }
    for name, array in files.items():
        np.save(tmp_path / f"{name}.npy", array)
    names = {name: tmp_path / f"{name}.npy" for name in [*files, "none"]}
    model = compiled(DEMO / "model.onnx", "--scheme=none")
    expect_error(run_tool("ganq-run", model, *[option.format(**names) for option in options], check=False))


def test_damaged_models(tmp_path):
    """Random damage: the tools may accept what is left, but never crash."""
    chance = random.Random(7)
    whole = linear_model(
        tmp_path / "whole.onnx",
        nodes=[
            helper.make_node("MatMul", ["x", "w"], ["a"], name="linear"),
            helper.make_node("Softmax", ["a"], ["b"], name="soft", axis=-1),
            helper.make_node("Transpose", ["b"], ["y"], name="turn", perm=[1, 0]),
        ],
    ).read_bytes()
    for trial in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 3])):
            place = chance.randrange(len(damaged))
            action = chance.randrange(3)
            if action == 0:
                damaged[place] ^= 1 << chance.randrange(8)
            elif action == 1:
                del damaged[place : place + chance.randrange(1, 9)]
            else:
                damaged[place:place] = chance.randbytes(chance.randrange(1, 9))
        (tmp_path / "m.onnx").write_bytes(damaged)
        result = run_tool("ganq-compile", tmp_path / "m.onnx", "-o", tmp_path / "m.ganq", check=False)
        if result.returncode != 0:
            expect_error(result)
            assert sorted(os.listdir(tmp_path)) == ["m.onnx", "whole.onnx"], trial
        (tmp_path / "m.ganq").unlink(missing_ok=True)


def test_output_folder_missing(tmp_path):
    result = run_tool(
        "ganq-compile",
        linear_model(tmp_path / "m.onnx"),
        "-o",
        tmp_path / "none" / "m.ganq",
        "--scheme=none",
        check=False,
    )
    assert result.returncode > 0 and "error" in result.stderr


def test_an_output_that_is_no_file_stays(tmp_path):
    model = linear_model(tmp_path / "m.onnx")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ["pipe", "link"]:
        result = run_tool("ganq-compile", model, "-o", tmp_path / name, check=False)
        assert "regular file" in expect_error(result)
    run_tool("ganq-translate", "--import-onnx", model, "-o", tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "pipe").is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["link", "m.onnx", "pipe"]


def test_the_old_output_survives_an_error(tmp_path):
    (tmp_path / "m.ganq").write_text("old")
    (tmp_path / "m.onnx").write_text("no model")
    result = run_tool(
        "ganq-compile", tmp_path / "m.onnx", "-o", tmp_path / "m.ganq", "--scheme=none", check=False
    )
    assert result.returncode > 0
    assert (tmp_path / "m.ganq").read_text() == "old"


def test_output_to_a_stream(tmp_path):
    model = linear_model(tmp_path / "m.onnx")
    result = run_tool("ganq-compile", model, "-o", "-", check=False, cwd=tmp_path)
    assert "not written to a stream" in expect_error(result)
    assert not (tmp_path / "-").exists()
    result = run_tool("ganq-compile", model, "-o", "-", "--compile-to=raise", cwd=tmp_path)
    assert "func.func @main" in result.stdout
    result = run_tool("ganq-compile", model, "-o", "-", "--compile-to=raise", "--json", check=False)
    assert "got both" in expect_error(result)


def test_empty_dimension(tmp_path):
    message = refuse(tmp_path, DEMO / "model.onnx", "--bind=seq=0")
    assert "--bind makes dimension 'seq' empty" in message


def test_context_beyond_the_model(tmp_path):
    result = run_tool("ganq-compile", DEMO / "model.onnx", "-o", tmp_path / "m.ganq", "--max-context=100000")
    assert re.search("warning: .*expected max-context to be at most 512", result.stderr)
    assert "100000" not in run_tool("ganq-run", tmp_path / "m.ganq", "--inspect").stdout
