//===- GridKernels.cpp - Inner loops of the grid solver -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GridKernels.h"
#include "Vectors.h"
#include <cmath>

using namespace ganq::quant;

/// Nearest unit to x for lanes r.. of a rule, in `unit`.
GANQ_INLINE static void round(const GridRule &rule, int64_t r, const Floats &x,
                              Floats &unit) {
  if (rule.levels) {
    unit = Floats{} + rule.levels[0];
    for (int64_t t = 1; t < rule.count; ++t)
      unit = x > rule.borders[t - 1] ? Floats{} + rule.levels[t] : unit;
    return;
  }
  const Floats &low = load(rule.low + r), &high = load(rule.high + r);
  Floats inside = x < low ? low : x;
  inside = inside > high ? high : inside;
  // Adding and taking away 1.5 * 2^23 leaves the nearest integer.
  constexpr float magic = 12582912.0f;
  unit = (inside + magic) - magic;
}

GANQ_CLONES
void ganq::quant::chooseUnits(const GridRule &rule, const float *v,
                              int64_t lanes, float *unit) {
  for (int64_t r = 0; r < lanes; r += vectorWidth) {
    Floats x = load(v + r) * load(rule.inverse + r);
    round(rule, r, x, load(unit + r));
  }
}

GANQ_CLONES
void ganq::quant::addRoundingErrors(const GridRule &rule, const float *w,
                                    const float *weights, int64_t columns,
                                    int64_t lanes, float *sums) {
  for (int64_t r = 0; r < lanes; r += vectorWidth) {
    Floats inverse = load(rule.inverse + r), scale = load(rule.scale + r);
    Floats sum = {}, unit;
    for (int64_t j = 0; j != columns; ++j) {
      const Floats &value = load(w + j * lanes + r);
      round(rule, r, value * inverse, unit);
      Floats error = unit * scale - value;
      sum += weights ? error * error * weights[j] : error * error;
    }
    load(sums + r) += sum;
  }
}

GANQ_CLONES
void ganq::quant::setErrors(const float *unit, const float *scale,
                            const float *w, int64_t lanes, float *out) {
  for (int64_t r = 0; r < lanes; r += vectorWidth)
    load(out + r) = load(unit + r) * load(scale + r) - load(w + r);
}

GANQ_CLONES
bool ganq::quant::descendColumn(const GridRule &rule, const float *w,
                                const float *gradient, float inverseDiagonal,
                                int64_t lanes, float *unit, float *error,
                                float *step) {
  Ints changed = {};
  for (int64_t r = 0; r < lanes; r += vectorWidth) {
    const Floats &value = load(w + r);
    Floats before = load(error + r), next;
    Floats best = value + before - load(gradient + r) * inverseDiagonal;
    round(rule, r, best * load(rule.inverse + r), next);
    load(unit + r) = next;
    Floats after = next * load(rule.scale + r) - value;
    Floats change = after - before;
    load(error + r) = after;
    load(step + r) = change;
    changed |= change != Floats{};
  }
  int32_t any = 0;
  for (int64_t l = 0; l != vectorWidth; ++l)
    any |= changed[l];
  return any != 0;
}

GANQ_CLONES
void ganq::quant::solveSystems(double *a, double *b, int64_t size,
                               const double *least) {
  auto at = [&](int64_t i, int64_t j) -> Doubles & {
    return *reinterpret_cast<Doubles *>(a + (i * size + j) * systemLanes);
  };
  auto right = [&](int64_t i) -> Doubles & {
    return *reinterpret_cast<Doubles *>(b + i * systemLanes);
  };
  const Doubles &least8 = *reinterpret_cast<const Doubles *>(least);
  for (int64_t i = 0; i != size; ++i) {
    Doubles sum = right(i);
    for (int64_t j = 0; j <= i; ++j) {
      Doubles entry = at(i, j);
      for (int64_t u = 0; u != j; ++u)
        entry -= at(i, u) * at(j, u);
      // The diagonal holds the inverse of the pivot's root, 0 where it is dead.
      if (j != i) {
        entry *= at(j, j);
        at(i, j) = entry;
        sum -= entry * right(j);
        continue;
      }
      Doubles root = {};
      for (int64_t l = 0; l != systemLanes; ++l)
        root[l] = entry[l] > least8[l] ? 1 / std::sqrt(entry[l]) : 0;
      at(i, i) = root;
      right(i) = sum * root;
    }
  }
  for (int64_t i = size; i-- != 0;) {
    right(i) *= at(i, i);
    Doubles x = right(i);
    for (int64_t j = 0; j != i; ++j)
      right(j) -= at(i, j) * x;
  }
}
