"""Runs a compiled model once and prints its speed as JSON:

    python ganq_model.py MODEL DECODED PROMPT...
"""

import json
import math
import sys
import time

from ganq._runtime import RuntimeModel, Session  # noqa: E402


def main():
    path, decoded, *prompts = sys.argv[1:]
    opened = time.perf_counter()
    model = RuntimeModel(path)
    session = Session(model)
    session.feed([1])
    session.sample(0)
    first = time.perf_counter() - opened
    weights = model.manifest["weights"]
    weight_bytes = sum(each["bytes"] for each in weights)
    count = sum(math.prod(each["shape"]) for each in weights)
    result = {
        "first_token_ms": first * 1e3,
        "weight_bytes": weight_bytes,
        "bits_per_weight": weight_bytes * 8 / count,
        "prefill": {},
    }
    for length in map(int, prompts):
        session = Session(model)
        session.feed(range(1, 9))  # the caches' pages
        session = Session(model)
        begin = time.perf_counter()
        session.feed([i * 7919 % 1000 + 1 for i in range(length)])
        session.sample(0)
        result["prefill"][str(length)] = length / (time.perf_counter() - begin)
    session = Session(model)
    session.feed([1])
    token = session.sample(0)
    begin = time.perf_counter()
    for _ in range(int(decoded)):
        session.feed([token])
        token = session.sample(0)
    result["decode"] = int(decoded) / (time.perf_counter() - begin)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
