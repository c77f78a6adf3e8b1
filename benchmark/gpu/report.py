"""The figures of a run as text, and what they are to reach."""

NOT_MEASURED = "not measured"
# Bits: least fraction of the copy bandwidth in decoding, on the larger shapes.
FRACTIONS = {4: 0.75, 3: 0.60, 2: 0.60}
LARGE = 4096 * 11008
DECODE_RATIO, PREFILL_RATIO, PREFILL_ROWS = 3.0, 0.85, 2048


def table(head, rows):
    """Aligned columns; the first is text."""
    rows = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def cell(value, form):
    return NOT_MEASURED if value is None else form.format(value)


def ratio(baseline, seconds):
    return None if baseline is None or seconds is None else baseline / seconds


def fraction(each, result):
    """Of the copy bandwidth, in reading the weight once."""
    if each["seconds"] is None or result["copy"] is None:
        return None
    return each["bytes"] / each["seconds"] / result["copy"]


def baseline(result, name, each):
    return result["baselines"].get(f"{name} {each['m']}x{each['n']}x{each['k']}")


def decode_rows(result, shape):
    for each in result["products"]:
        if each["m"] == 1 and (each["n"], each["k"]) == shape:
            yield (
                each["name"], f"{8 * each['bytes'] / each['n'] / each['k']:.2f}",
                cell(each["seconds"] and each["seconds"] * 1e6, "{:.1f}"),
                cell(fraction(each, result), "{:.0%}"),
                cell(ratio(baseline(result, "cublas", each), each["seconds"]), "{:.2f}"),
                cell(ratio(baseline(result, "triton", each), each["seconds"]), "{:.2f}"),
            )  # fmt: skip


def batch_rows(result, m, shape):
    for each in result["products"]:
        if each["m"] == m and (each["n"], each["k"]) == shape:
            seconds = each["seconds"]
            yield (
                each["name"], cell(seconds and seconds * 1e6, "{:.1f}"),
                cell(seconds and 2e-12 * m * each["n"] * each["k"] / seconds, "{:.1f}"),
                cell(ratio(baseline(result, "cublas", each), seconds), "{:.2f}"),
                cell(ratio(baseline(result, "cublas_int8", each), seconds), "{:.2f}"),
                cell(ratio(baseline(result, "triton", each), seconds), "{:.2f}"),
            )  # fmt: skip


def aims(result):
    """(aim, whether it is reached; None where nothing was measured)."""
    floats = [each for each in result["products"] if not each["activation"]]
    decode = [each for each in floats if each["m"] == 1 and each["n"] * each["k"] >= LARGE]

    def reached(values, least):
        values = list(values)
        if not values or None in values:
            return None
        return min(values) >= least

    for bits, least in FRACTIONS.items():
        values = [fraction(each, result) for each in decode if each["bits"] == bits]
        yield f"decode of {bits} bits >= {least:.0%} of the copy bandwidth", reached(values, least)
    values = [
        ratio(baseline(result, "cublas", each), each["seconds"])
        for each in decode
        if each["bits"] == 4
    ]
    yield f"decode of 4 bits >= {DECODE_RATIO:g}x cuBLAS f16", reached(values, DECODE_RATIO)
    values = [
        ratio(baseline(result, "cublas", each), each["seconds"])
        for each in floats
        if each["m"] == PREFILL_ROWS
    ]
    yield f"M = {PREFILL_ROWS} >= {PREFILL_RATIO:g}x cuBLAS f16", reached(values, PREFILL_RATIO)


def models(result):
    head = ("model", "tokens as on the CPU", "decode tok/s", "of copy", "prefill tok/s")
    rows = [
        (
            each["name"], f"{each['same']} of {each['tokens']}", f"{each['decode']:.0f}",
            f"{each['fraction']:.1%}", f"{each['prefill']:.0f}",
        )
        for each in result["models"]
    ]  # fmt: skip
    return table(head, rows or [("all", *4 * [NOT_MEASURED])])


def text(result):
    lines = [
        f"Device: {result['device'] or 'none'}",
        "Copy bandwidth: " + cell(result["copy"] and result["copy"] / 1e9, "{:.0f} GB/s"),
        "Products checked: " + (str(result["checked"]) if result["checked"] else NOT_MEASURED),
    ]
    lines += result["notes"]
    seen = list(dict.fromkeys((each["m"], each["n"], each["k"]) for each in result["products"]))
    for m, n, k in seen:
        lines += ["", f"{m} x {n} x {k}"]
        if m == 1:
            head = ("kernel", "bits/weight", "us", "of copy", "vs cuBLAS f16", "vs Triton int4")
            lines += table(head, decode_rows(result, (n, k)))
        else:
            head = ("kernel", "us", "TOPS", "vs cuBLAS f16", "vs cuBLAS int8", "vs Triton int4")
            lines += table(head, batch_rows(result, m, (n, k)))
    lines += ["", *models(result)]
    words = {None: NOT_MEASURED, True: "reached", False: "MISSED"}
    lines += ["", *table(("aim", ""), [(aim, words[got]) for aim, got in aims(result)])]
    return "\n".join(lines) + "\n"
