"""The figures of a run as text, and what they are to reach."""

PARAMETERS = 1.1e9
# Bits: least fraction of read bandwidth in products of one row and decoding.
FRACTIONS = {4: 0.85, 3: 0.70, 2: 0.60}
DECODE_RATIO, PREFILL_RATIO, ORT_RATIO, COMPILE_SECONDS = 2.0, 1.5, 1.3, 60
THREADS_RATIO = 1.8  # of two threads to one


def bits_of(name):
    return next(int(c) for c in name if c.isdigit())


def table(head, rows):
    """Aligned columns; the first is text."""
    rows = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]


def products(result):
    bandwidth = result["read_bytes_per_second"]
    lines = [
        "Read bandwidth: {:.1f} GB/s with one thread, {:.1f} GB/s with {}".format(
            result["read_bytes_per_second_1"] / 1e9, bandwidth / 1e9, result["threads"]
        ),
        "",
    ]
    rows = [
        (
            each["name"], f"{each['m']}x{each['n']}x{each['k']}",
            f"{each['bits_per_weight']:.2f}", f"{each['seconds'] * 1e6:.0f}",
            f"{each['bytes_per_second'] / 1e9:.1f}", f"{each['bandwidth_fraction']:.0%}",
            f"{each['multiplications_per_second'] / 1e9:.0f}",
            f"{speedup(each):.2f}",
        )
        for each in result["kernels"]
    ]  # fmt: skip
    if not rows:
        return lines
    head = ("product", "MxNxK", "bits/weight", "us", "GB/s", "of bandwidth", "GMAC/s", "vs 1 thread")
    return lines + table(head, rows) + [""]


def models(result):
    rows = []
    bandwidth = result.get("read_bytes_per_second")
    for family in ("ganq", "llama.cpp", "ort"):
        for each in result.get(family, []):
            read = each["decode"] * each["bits_per_weight"] / 8 * result["weights"]
            rows.append(
                (
                    f"{family} {each['name']}", f"{each['bits_per_weight']:.2f}",
                    f"{each['file_bytes'] * 8 / PARAMETERS:.2f}", f"{each['decode']:.1f}",
                    f"{read / bandwidth:.0%}" if bandwidth else "",
                    *(f"{speed:.0f}" for speed in each["prefill"].values()),
                    f"{each['first_token_ms']:.0f}" if "first_token_ms" in each else "",
                    f"{each['compile_seconds']:.0f}" if "compile_seconds" in each else "",
                )
            )  # fmt: skip
    prompts = [f"prefill {n} tok/s" for n in prompt_lengths(result)]
    head = ("model", "bits/weight", "file bits", "decode tok/s", "of bandwidth", *prompts,
            "first token ms", "compile s")  # fmt: skip
    return table(head, rows) + [""] if rows else []


def prompt_lengths(result):
    for family in ("ganq", "llama.cpp", "ort"):
        for each in result.get(family, []):
            return list(each["prefill"])
    return []


def speedup(product):
    return product["seconds_1"] / product["seconds"]


def best(models, score):
    return max(models, key=score, default=None)


def aims(result):
    """(what, figure, aim, whether it is reached) of all that was measured."""
    rows = []

    def add(what, value, aim, form, least=True):
        reached = value >= aim if least else value <= aim
        rows.append((what, form(value), ("" if least else "<= ") + form(aim), "yes" if reached else "NO"))

    percent, ratio, second = "{:.0%}".format, "{:.2f}x".format, "{:.0f} s".format
    for each in result.get("kernels", []):
        if each["m"] == 1:
            shape = f"{each['n']}x{each['k']}"
            aim = FRACTIONS[bits_of(each["name"])]
            add(f"{each['name']} {shape} of bandwidth", each["bandwidth_fraction"], aim, percent)
    if result.get("kernels") and result["threads"] == 2:
        slowest = min(result["kernels"], key=speedup)
        name = f"two threads to one, {slowest['name']} {slowest['m']}x{slowest['n']}x{slowest['k']}"
        add(f"{name}, the least", speedup(slowest), THREADS_RATIO, ratio)
    ours, bandwidth = result.get("ganq", []), result.get("read_bytes_per_second")
    for each in ours:
        if bandwidth:
            fraction = each["decode"] * each["weight_bytes"] / bandwidth
            aim = FRACTIONS[bits_of(each["name"])]
            add(f"{each['name']} decode of bandwidth", fraction, aim, percent)
    for bits in FRACTIONS:
        same = [each for each in ours if bits_of(each["name"]) == bits]
        measures = [("decode", DECODE_RATIO, lambda each: each["decode"])]
        measures += [
            (f"prefill {n}", PREFILL_RATIO, lambda each, n=n: each["prefill"][n])
            for n in prompt_lengths(result)
        ]
        for what, aim, score in measures:
            mine = best(same, score)
            if not mine:
                continue
            rivals = [
                each
                for each in result.get("llama.cpp", [])
                if each["bits_per_weight"] >= mine["bits_per_weight"]
            ]
            if rival := best(rivals, score):
                name = f"{what}, {bits} bits: {mine['name']} to llama.cpp {rival['name']}"
                add(name, score(mine) / score(rival), aim, ratio)
        if bits == 4 and same and (rival := best(result.get("ort", []), lambda e: e["decode"])):
            mine = best(same, lambda each: each["decode"])
            name = f"decode, 4 bits: {mine['name']} to ONNX Runtime {rival['name']}"
            add(name, mine["decode"] / rival["decode"], ORT_RATIO, ratio)
    if ours:
        slowest = best(ours, lambda each: each["compile_seconds"])
        name = f"compile time of {slowest['name']}, the slowest"
        add(name, slowest["compile_seconds"], COMPILE_SECONDS, second, least=False)
    return rows


def text(result):
    lines = products(result) if "kernels" in result else []
    lines += models(result)
    lines += table(("aim", "measured", "wanted", "reached"), aims(result))
    return "\n".join(lines)
