//===- OnnxDialect.cpp - The onnx dialect ---------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Onnx/OnnxDialect.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"
#include <limits>

using namespace mlir;
using namespace ganq::onnx;

#include "ganq/Onnx/OnnxDialect.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "ganq/Onnx/OnnxTypes.cpp.inc"

#define GET_OP_CLASSES
#include "ganq/Onnx/OnnxOps.cpp.inc"

//===----------------------------------------------------------------------===//
// Operator table
//===----------------------------------------------------------------------===//

static constexpr unsigned V = std::numeric_limits<unsigned>::max();

static const OpSchema kSchemas[] = {
#define ONNX_OP(name, minIn, maxIn, minOut, maxOut, since, tier, support)      \
  {name, minIn, maxIn, minOut, maxOut, since, tier, OpSupport::support},
#include "OnnxOps.inc"
#undef ONNX_OP
};

ArrayRef<OpSchema> ganq::onnx::getOpSchemas() { return kSchemas; }

const OpSchema *ganq::onnx::lookupOpSchema(StringRef name) {
  static const llvm::StringMap<const OpSchema *> index = [] {
    llvm::StringMap<const OpSchema *> map;
    for (const OpSchema &schema : kSchemas)
      map[schema.name] = &schema;
    return map;
  }();
  return index.lookup(name);
}

bool ganq::onnx::isSupportedOp(StringRef name) {
  if (name == "Constant" || name == "None" || name == "Yield")
    return true;
  const OpSchema *schema = lookupOpSchema(name);
  return schema && schema->support != OpSupport::None;
}

static LogicalResult verifyCount(Operation *op, StringRef what, unsigned count,
                                 unsigned min, unsigned max) {
  if (count >= min && count <= max)
    return success();
  InFlightDiagnostic diag = op->emitOpError() << "expected ";
  if (min == max)
    diag << min;
  else if (max == V)
    diag << "at least " << min;
  else
    diag << min << " to " << max;
  return diag << " " << what << ", but got " << count;
}

static LogicalResult verifySchema(Operation *op, const OpSchema &schema) {
  if (failed(verifyCount(op, "operands", op->getNumOperands(),
                         schema.minOperands, schema.maxOperands)))
    return failure();
  return verifyCount(op, "results", op->getNumResults(), schema.minResults,
                     schema.maxResults);
}

//===----------------------------------------------------------------------===//
// Dialect
//===----------------------------------------------------------------------===//

namespace {

/// Operators have no effect on memory, except that those that draw random
/// numbers must neither be merged nor removed.
struct PureModel : MemoryEffectOpInterface::FallbackModel<PureModel> {
  static void getEffects(
      Operation *,
      SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &) {}
};

struct RandomModel : MemoryEffectOpInterface::FallbackModel<RandomModel> {
  static void
  getEffects(Operation *,
             SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
                 &effects) {
    effects.emplace_back(MemoryEffects::Write::get());
  }
};

bool drawsRandomNumbers(StringRef name) {
  return name.starts_with("onnx.Random") || name == "onnx.Bernoulli" ||
         name == "onnx.Multinomial";
}

} // namespace

void OnnxDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "ganq/Onnx/OnnxTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ganq/Onnx/OnnxOps.cpp.inc"
      >();
  // Operators of domains and versions that the table does not know survive.
  allowUnknownOperations();
  for (const OpSchema &schema : kSchemas)
    registerDynamicOp(DynamicOpDefinition::get(
        schema.name, this,
        [&schema](Operation *op) { return verifySchema(op, schema); },
        [](Operation *) { return success(); }));
}

void *OnnxDialect::getRegisteredInterfaceForOp(TypeID interfaceID,
                                               OperationName opName) {
  if (interfaceID != MemoryEffectOpInterface::getInterfaceID())
    return nullptr;
  static PureModel pure;
  static RandomModel random;
  if (drawsRandomNumbers(opName.getStringRef()))
    return &random;
  return &pure;
}

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValueAttr(); }

void ganq::onnx::registerOnnxDialect(DialectRegistry &registry) {
  registry.insert<OnnxDialect>();
}

//===----------------------------------------------------------------------===//
// Matching
//===----------------------------------------------------------------------===//

StringRef ganq::onnx::getOpName(Operation *op) {
  if (!op)
    return {};
  StringRef name = op->getName().getStringRef();
  return name.consume_front("onnx.") ? name : StringRef();
}

bool ganq::onnx::isOnnxOp(Operation *op, StringRef name) {
  return op && !name.empty() && getOpName(op) == name;
}

bool ganq::onnx::isOnnxOp(Operation *op, ArrayRef<StringRef> names) {
  StringRef opName = getOpName(op);
  return !opName.empty() && llvm::is_contained(names, opName);
}

Operation *ganq::onnx::getDefiningOnnxOp(Value value, StringRef name) {
  Operation *op = value ? value.getDefiningOp() : nullptr;
  return isOnnxOp(op, name) ? op : nullptr;
}

bool ganq::onnx::isNone(Value value) {
  return !value || isa<NoneType>(value.getType());
}

Value ganq::onnx::getOperand(Operation *op, unsigned index) {
  if (index >= op->getNumOperands() || isNone(op->getOperand(index)))
    return {};
  return op->getOperand(index);
}

int64_t ganq::onnx::getInt(Operation *op, StringRef name,
                           int64_t defaultValue) {
  auto attr = op->getAttrOfType<IntegerAttr>(name);
  return attr ? attr.getInt() : defaultValue;
}

double ganq::onnx::getFloat(Operation *op, StringRef name,
                            double defaultValue) {
  auto attr = op->getAttrOfType<FloatAttr>(name);
  return attr ? attr.getValueAsDouble() : defaultValue;
}

StringRef ganq::onnx::getString(Operation *op, StringRef name,
                                StringRef defaultValue) {
  auto attr = op->getAttrOfType<StringAttr>(name);
  return attr ? attr.getValue() : defaultValue;
}

std::optional<ArrayRef<int64_t>> ganq::onnx::getInts(Operation *op,
                                                     StringRef name) {
  if (auto attr = op->getAttrOfType<DenseI64ArrayAttr>(name))
    return attr.asArrayRef();
  return std::nullopt;
}

std::optional<ArrayRef<float>> ganq::onnx::getFloats(Operation *op,
                                                     StringRef name) {
  if (auto attr = op->getAttrOfType<DenseF32ArrayAttr>(name))
    return attr.asArrayRef();
  return std::nullopt;
}

StringRef ganq::onnx::getNodeName(Operation *op) {
  return getString(op, "onnx.node");
}

std::optional<DenseElementsAttr> ganq::onnx::matchConstant(Value value) {
  while (Operation *identity = getDefiningOnnxOp(value, "Identity"))
    value = identity->getOperand(0);
  auto constant = value ? value.getDefiningOp<ConstantOp>() : ConstantOp();
  if (!constant)
    return std::nullopt;
  if (auto dense = dyn_cast<DenseElementsAttr>(constant.getValueAttr()))
    return dense;
  return std::nullopt;
}

bool ganq::onnx::getConstantInts(Value value,
                                 SmallVectorImpl<int64_t> &elements) {
  std::optional<DenseElementsAttr> dense = matchConstant(value);
  auto type = dense ? dyn_cast<IntegerType>(dense->getElementType()) : nullptr;
  if (!type)
    return false;
  bool zeroExtend = type.isUnsigned() || type.getWidth() == 1;
  for (const APInt &element : dense->getValues<APInt>())
    elements.push_back(zeroExtend ? element.getZExtValue()
                                  : element.getSExtValue());
  return true;
}

bool ganq::onnx::getConstantFloats(Value value,
                                   SmallVectorImpl<double> &elements) {
  SmallVector<int64_t> ints;
  if (getConstantInts(value, ints)) {
    elements.append(ints.begin(), ints.end());
    return true;
  }
  std::optional<DenseElementsAttr> dense = matchConstant(value);
  if (!dense || !isa<FloatType>(dense->getElementType()))
    return false;
  for (const APFloat &element : dense->getValues<APFloat>()) {
    APFloat wide = element;
    bool losesInfo;
    wide.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                 &losesInfo);
    elements.push_back(wide.convertToDouble());
  }
  return true;
}

std::optional<int64_t> ganq::onnx::getConstantInt(Value value) {
  SmallVector<int64_t> elements;
  std::optional<DenseElementsAttr> dense = matchConstant(value);
  if (!dense || dense->getNumElements() != 1 ||
      !getConstantInts(value, elements))
    return std::nullopt;
  return elements.front();
}

std::optional<double> ganq::onnx::getConstantFloat(Value value) {
  SmallVector<double> elements;
  std::optional<DenseElementsAttr> dense = matchConstant(value);
  if (!dense || dense->getNumElements() != 1 ||
      !getConstantFloats(value, elements))
    return std::nullopt;
  return elements.front();
}

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

Operation *ganq::onnx::createOnnxOp(OpBuilder &builder, Location loc,
                                    StringRef name, TypeRange resultTypes,
                                    ValueRange operands,
                                    ArrayRef<NamedAttribute> attrs) {
  OperationState state(loc, ("onnx." + name).str(), operands, resultTypes,
                       attrs);
  return builder.create(state);
}

Value ganq::onnx::createConstant(OpBuilder &builder, Location loc,
                                 DenseElementsAttr value) {
  return ConstantOp::create(builder, loc, value.getType(), value);
}

Value ganq::onnx::createInts(OpBuilder &builder, Location loc,
                             ArrayRef<int64_t> elements) {
  return createConstant(builder, loc, builder.getI64TensorAttr(elements));
}

Value ganq::onnx::createInt(OpBuilder &builder, Location loc, int64_t element) {
  auto type = RankedTensorType::get({}, builder.getI64Type());
  return createConstant(builder, loc, DenseElementsAttr::get(type, element));
}

Value ganq::onnx::createNone(OpBuilder &builder, Location loc) {
  return NoneOp::create(builder, loc, builder.getNoneType());
}
