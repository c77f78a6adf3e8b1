"""llama.cpp as a rival: its tools, its models, its speed."""

import json
import os
import re
import struct
import subprocess
import sys
import tarfile

from packages import need

# Tensor type: llama-quantize's name of the file type that defaults to it.
FORMATS = {
    "IQ4_NL": "IQ4_NL",
    "Q4_0": "Q4_0",
    "Q4_K": "Q4_K_S",
    "Q3_K": "Q3_K_S",
    "IQ3_S": "IQ3_S",
    "Q2_K": "Q2_K",
    "IQ2_S": "IQ2_M",
}

PACKAGE = "llama-cpp-python==0.3.36"
CMAKE = [
    # g++ 12 breaks its AMX code: only eight bytes of ldtilecfg's operand are kept.
    "-DCMAKE_C_COMPILER=clang-22", "-DCMAKE_CXX_COMPILER=clang++-22",
    "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
]  # fmt: skip


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)


def build(work, jobs):
    """Builds llama-bench and llama-quantize once; returns their folder."""
    tree = os.path.join(work, "llama.cpp")
    binaries = os.path.join(tree, "build-clang", "bin")
    if all(
        os.path.exists(os.path.join(binaries, name))
        for name in ("llama-bench", "llama-quantize")
    ):
        return binaries
    say(f"building llama.cpp of {PACKAGE} (about nine minutes of one core)")
    download = os.path.join(work, "download")
    subprocess.check_call(
        [
            sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check",
            "--no-deps", "--no-binary", "llama-cpp-python", "-d", download, PACKAGE,
        ]  # fmt: skip
    )
    name = PACKAGE.replace("-", "_").replace("==", "-") + ".tar.gz"
    with tarfile.open(os.path.join(download, name)) as archive:
        prefix = name[: -len(".tar.gz")] + "/"
        members = [m for m in archive.getmembers() if m.name.startswith(prefix)]
        for member in members:
            member.name = member.name[len(prefix) :]
        archive.extractall(tree, members, filter="data")
    source = os.path.join(tree, "vendor", "llama.cpp")
    subprocess.check_call(
        ["cmake", "-S", source, "-B", os.path.join(tree, "build-clang"), "-G", "Ninja", *CMAKE],
        stdout=sys.stderr,
    )
    subprocess.check_call(
        [
            "nice", "ninja", "-C", os.path.join(tree, "build-clang"), f"-j{jobs}",
            "llama-bench", "llama-quantize",
        ],
        stdout=sys.stderr,
    )  # fmt: skip
    return binaries


def _layer_tensors(shape):
    head = shape["hidden"] // shape["heads"]
    kv = shape["kv_heads"] * head
    hidden, inner = shape["hidden"], shape["intermediate"]
    return {
        "attn_q": (hidden, hidden),
        "attn_k": (kv, hidden),
        "attn_v": (kv, hidden),
        "attn_output": (hidden, hidden),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }


def _writer(gguf, path, shape, layers):
    writer = gguf.GGUFWriter(path, "llama")
    head = shape["hidden"] // shape["heads"]
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["hidden"])
    writer.add_feed_forward_length(shape["intermediate"])
    writer.add_block_count(layers)
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape["vocabulary"])
    writer.add_tokenizer_model("no_vocab")
    return writer


def _finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_layer(gguf, path, shape):
    """One layer, the embedding and the head: random weights in f16."""
    import numpy as np

    random = np.random.default_rng(0)
    writer = _writer(gguf, path, shape, 1)

    def add(name, rows, columns, scale):
        value = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(scale)
        writer.add_tensor(name, value.astype(np.float16))

    ones = np.ones(shape["hidden"], np.float32)
    add("token_embd.weight", shape["vocabulary"], shape["hidden"], 1)
    for name, (rows, columns) in _layer_tensors(shape).items():
        add(f"blk.0.{name}.weight", rows, columns, columns**-0.5)
    writer.add_tensor("blk.0.attn_norm.weight", ones)
    writer.add_tensor("blk.0.ffn_norm.weight", ones)
    writer.add_tensor("output_norm.weight", ones)
    add("output.weight", shape["vocabulary"], shape["hidden"], shape["hidden"] ** -0.5)
    _finish(writer)


def _write_imatrix(path, shape):
    """All columns equally important, in the format of llama-imatrix's .dat files."""
    entries = {f"blk.0.{n}.weight": c for n, (_, c) in _layer_tensors(shape).items()}
    entries["output.weight"] = shape["hidden"]
    with open(path, "wb") as file:
        file.write(struct.pack("<i", len(entries)))
        for name, columns in entries.items():
            file.write(struct.pack("<i", len(name)) + name.encode())
            file.write(struct.pack("<ii", 1, columns))
            file.write(struct.pack(f"<{columns}f", *([1.0] * columns)))


def _repeat_layer(gguf, source, path, shape):
    """The model of all layers from the quantized model of one."""
    reader = gguf.GGUFReader(source)
    writer = _writer(gguf, path, shape, shape["layers"])
    types = {}

    def add(name, tensor):
        types[name] = tensor.tensor_type.name
        writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)

    for tensor in reader.tensors:
        match = re.fullmatch(r"blk\.0\.(.*)", tensor.name)
        if not match:
            add(tensor.name, tensor)
            continue
        for layer in range(shape["layers"]):
            add(f"blk.{layer}.{match.group(1)}", tensor)
    _finish(writer)
    return types


def model(binaries, work, shape, form):
    """A model whose matrices all have the type `form`; returns path, and the
    bits of a weight that decoding reads.

    Only one layer is quantized and then repeated: with random weights all
    layers are alike, and the searching formats take minutes for a whole model.
    """
    gguf = need("gguf", "gguf")
    path = os.path.join(work, f"llama-{shape['layers']}-{form}.gguf")
    if not os.path.exists(path):
        one = os.path.join(work, "llama-layer-F16.gguf")
        imatrix = os.path.join(work, "llama-layer.imatrix")
        if not os.path.exists(one):
            _write_layer(gguf, one + ".tmp", shape)
            os.replace(one + ".tmp", one)
        _write_imatrix(imatrix, shape)
        quantized = os.path.join(work, f"llama-layer-{form}.gguf")
        say(f"quantizing to {form}")
        subprocess.check_call(
            [
                "nice", os.path.join(binaries, "llama-quantize"), "--pure",
                *(["--imatrix", imatrix] if form == "IQ2_S" else []),
                "--token-embedding-type", "q4_0", one, quantized, FORMATS[form],
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        types = _repeat_layer(gguf, quantized, path + ".tmp", shape)
        os.remove(quantized)
        wrong = {n: t for n, t in types.items() if ".weight" in n and "norm" not in n
                 and n != "token_embd.weight" and t != form}  # fmt: skip
        if wrong:
            sys.exit(f"expected all matrices in {form}, but got {wrong}")
        os.replace(path + ".tmp", path)
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[form]]
    return path, size * 8 / block


def bench(binaries, path, threads, prompts, decode, prefix=()):
    """Tokens per second of one run: decoding, and prefill by prompt length."""
    output = subprocess.check_output(
        [
            *prefix, os.path.join(binaries, "llama-bench"), "-m", path, "-t", str(threads),
            "-p", ",".join(map(str, prompts)), "-n", str(decode), "-r", "1", "-o", "json",
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    result = {"prefill": {}}
    for each in json.loads(output):
        if each["n_gen"]:
            result["decode"] = each["avg_ts"]
        else:
            result["prefill"][str(each["n_prompt"])] = each["avg_ts"]
    return result
