#!/usr/bin/env python3
"""Writes Golden.inc: a small layer, and what NumPy double precision makes of it.

Usage: make_golden.py > Golden.inc
"""
import numpy as np

N, K, ROWS, BITS, RIDGE, ALPHA = 10, 24, 200, 3, 0.01, 0.5

BANNER = """\
//===- Golden.inc - Reference values, made by make_golden.py ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
"""


def layer():
    rng = np.random.default_rng(7)
    weight = rng.standard_t(5, (N, K)) * 0.1
    mix = rng.standard_normal((K, K)) / np.sqrt(K)
    x = rng.standard_normal((ROWS, K)) @ (mix + np.eye(K))
    x[:, 3] *= 6
    reference = x + 0.1 * rng.standard_normal(x.shape)
    f32 = lambda a: a.astype(np.float32).astype(np.float64)
    return f32(weight), f32(x), f32(reference)


def choose(weight, lower, table):
    """Equation 20 of arXiv 2501.12956, columns from last to first."""
    codes = np.zeros(weight.shape, int)
    error = np.zeros(weight.shape)
    for j in reversed(range(weight.shape[1])):
        v = weight[:, j] - error[:, j + 1 :] @ lower[j + 1 :, j] / lower[j, j]
        codes[:, j] = np.abs(v[:, None] - table).argmin(1)
        error[:, j] = np.take_along_axis(table, codes[:, j : j + 1], 1)[:, 0] - weight[:, j]
    return codes


def best_table(weight, h, codes, table):
    """Equation 5 of arXiv 2501.12956."""
    out = table.copy()
    for i, row in enumerate(weight):
        onehot = np.eye(table.shape[1])[codes[i]]
        out[i] = np.linalg.pinv(onehot.T @ h @ onehot, rcond=1e-12) @ (onehot.T @ h @ row)
    return out


def loss(weight, h, codes, table):
    error = np.take_along_axis(table, codes, 1) - weight
    return np.einsum("ij,jk,ik->i", error, h, error)


def gptq(weight, h, levels, group):
    """arXiv 2210.17323 with act-order and static groups, in the paper's form."""
    f16 = lambda a: a.astype(np.float16).astype(np.float64)
    order = np.argsort(-np.diag(h), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(h[np.ix_(order, order)])).T
    low, high = [f(weight.reshape(N, -1, group), 0).reshape(N, -1)
                 for f in (lambda w, z: np.minimum(w.min(2), z), lambda w, z: np.maximum(w.max(2), z))]
    scale = f16((high - low) / (levels - 1))
    zero = np.clip(np.round(-low / scale), 0, levels - 1)
    left = weight.copy()
    codes = np.zeros(weight.shape, int)
    for i, j in enumerate(order):
        s, z = scale[:, j // group], zero[:, j // group]
        codes[:, j] = np.clip(np.round(left[:, j] / s) + z, 0, levels - 1)
        step = (left[:, j] - (codes[:, j] - z) * s) / upper[i, i]
        left[:, order[i + 1 :]] -= np.outer(step, upper[i, i + 1 :])
    value = (codes - np.repeat(zero, group, 1)) * np.repeat(scale, group, 1)
    return codes, np.einsum("ij,jk,ik->i", value - weight, h, value - weight)


def emit(name, values, kind="double"):
    values = np.asarray(values).ravel()
    text = [str(v) if kind == "int" else repr(float(v)) for v in values]
    print(f"static const {kind} {name}[] = {{")
    line = ""
    for item in text:
        if len(line) + len(item) + 2 > 78:
            print("   " + line)
            line = ""
        line += f" {item},"
    print("   " + line + "};")


def main():
    weight, x, reference = layer()
    h = x.T @ x / ROWS
    c = reference.T @ x / ROWS
    ridge = RIDGE * np.trace(h) / K
    damped = h + ridge * np.eye(K)
    lower = np.linalg.cholesky(damped)
    low, high = weight.min(1, keepdims=True), weight.max(1, keepdims=True)
    table = low + (high - low) * np.linspace(0, 1, 2**BITS)
    print(BANNER)
    print(f"static const int goldenN = {N}, goldenK = {K}, goldenRows = {ROWS};")
    emit("goldenW", weight)
    emit("goldenH", h)
    emit("goldenC", c)
    codes = choose(weight, lower, table)
    emit("goldenFirstCodes", codes, "int")
    emit("goldenFirstLoss", loss(weight, damped, codes, table))
    table = best_table(weight, damped, codes, table)
    emit("goldenFirstTable", table)
    emit("goldenFirstTableLoss", loss(weight, damped, codes, table))
    for _ in range(9):
        codes = choose(weight, lower, table)
        table = best_table(weight, damped, codes, table)
    emit("goldenLiteralLoss", loss(weight, damped, codes, table))
    corrected = (1 - ALPHA) * weight + ALPHA * weight @ (c + ridge * np.eye(K)) @ np.linalg.inv(damped)
    emit("goldenCorrectedEnergy", np.einsum("ij,jk,ik->i", corrected, h, corrected))
    for name, group in (("goldenGptq", K), ("goldenGptqGroup", 8)):
        codes, losses = gptq(weight, damped, 2**BITS, group)
        emit(name + "Codes", codes, "int")
        emit(name + "Loss", losses)



main()
