//===- GanqAttributes.cpp - Attributes of the ganq dialect ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/IR/GanqDialect.h"
#include "ganq/Support/CodeLayout.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace ganq;

#include "ganq/IR/GanqAttrInterfaces.cpp.inc"

LogicalResult ExternalAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                   StringRef file, int64_t offset,
                                   int64_t length) {
  if (file.empty())
    return emitError() << "expected a file name, but got an empty string";
  if (offset < 0 || length < 0)
    return emitError() << "expected offset and length to be non-negative, but "
                          "got offset "
                       << offset << " and length " << length;
  return success();
}

//===----------------------------------------------------------------------===//
// What all schemes with packed codes share
//===----------------------------------------------------------------------===//

static LogicalResult verifyCodes(function_ref<InFlightDiagnostic()> emitError,
                                 unsigned bits, int64_t group) {
  if (bits < 1 || bits > 8)
    return emitError() << "expected bits to be between 1 and 8, but got "
                       << bits;
  int64_t granularity = CodeLayout(bits, 1, 1).getGroupGranularity();
  if (group < 0 || group % granularity != 0)
    return emitError() << "expected group to be 0 or a positive multiple of "
                       << granularity << " for " << bits
                       << "-bit codes, but got " << group;
  return success();
}

static LogicalResult verifyMatrix(function_ref<InFlightDiagnostic()> emitError,
                                  int64_t n, int64_t k) {
  if (n <= 0 || k <= 0)
    return emitError() << "expected a weight with static, positive dimensions, "
                          "but got "
                       << n << "x" << k;
  return success();
}

static int64_t paddedRows(int64_t n) {
  return llvm::alignTo(n, CodeLayout::kRowTile);
}

static int64_t groupCount(int64_t k, int64_t group) {
  return group ? llvm::divideCeil(k, group) : 1;
}

static SchemeComponent codesComponent(MLIRContext *context, unsigned bits,
                                      int64_t n, int64_t k) {
  return {"codes", RankedTensorType::get({CodeLayout(bits, n, k).getBytes()},
                                         IntegerType::get(context, 8))};
}

//===----------------------------------------------------------------------===//
// LutAttr
//===----------------------------------------------------------------------===//

LogicalResult LutAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                              unsigned bits, int64_t group) {
  return verifyCodes(emitError, bits, group);
}

unsigned LutAttr::getCodeBits() const { return getBits(); }

int64_t LutAttr::getGroupSize() const { return getGroup(); }

std::string LutAttr::getShortName() const {
  std::string name = "lut" + std::to_string(getBits());
  return getGroup() ? name + "g" + std::to_string(getGroup()) : name;
}

SmallVector<SchemeComponent> LutAttr::getComponents(int64_t n,
                                                    int64_t k) const {
  MLIRContext *context = getContext();
  return {
      codesComponent(context, getBits(), n, k),
      {"table", RankedTensorType::get({paddedRows(n), groupCount(k, getGroup()),
                                       int64_t(1) << getBits()},
                                      Float16Type::get(context))}};
}

LogicalResult
LutAttr::verifyWeight(function_ref<InFlightDiagnostic()> emitError, int64_t n,
                      int64_t k) const {
  return verifyMatrix(emitError, n, k);
}

//===----------------------------------------------------------------------===//
// UniformAttr
//===----------------------------------------------------------------------===//

LogicalResult UniformAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                  unsigned bits, int64_t group) {
  return verifyCodes(emitError, bits, group);
}

unsigned UniformAttr::getCodeBits() const { return getBits(); }

int64_t UniformAttr::getGroupSize() const { return getGroup(); }

std::string UniformAttr::getShortName() const {
  std::string name = "uniform" + std::to_string(getBits());
  return getGroup() ? name + "g" + std::to_string(getGroup()) : name;
}

SmallVector<SchemeComponent> UniformAttr::getComponents(int64_t n,
                                                        int64_t k) const {
  MLIRContext *context = getContext();
  SmallVector<int64_t> shape{paddedRows(n), groupCount(k, getGroup())};
  return {codesComponent(context, getBits(), n, k),
          {"scale", RankedTensorType::get(shape, Float16Type::get(context))},
          {"zero", RankedTensorType::get(shape, IntegerType::get(context, 8))}};
}

LogicalResult
UniformAttr::verifyWeight(function_ref<InFlightDiagnostic()> emitError,
                          int64_t n, int64_t k) const {
  return verifyMatrix(emitError, n, k);
}
