//===- GraphImporter.h - ONNX graphs to regions -----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_ONNX_IMPORT_GRAPHIMPORTER_H
#define GANQ_LIB_ONNX_IMPORT_GRAPHIMPORTER_H

#include "TensorReader.h"
#include "WeightNames.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Onnx/Import.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringSet.h"

namespace ganq::onnx {

/// Builds the module of one model.
class GraphImporter {
public:
  GraphImporter(llvm::StringRef path, const llvm::MemoryBuffer &file,
                const ::onnx::ModelProto &model, mlir::MLIRContext *context,
                const ImportOptions &options);

  /// Null after an error.
  mlir::OwningOpRef<mlir::ModuleOp> run();

private:
  using Nodes = google::protobuf::RepeatedPtrField<::onnx::NodeProto>;

  /// Names and what they stand for; graphs see the names around them.
  struct Scope {
    const Scope *parent = nullptr;
    llvm::StringMap<mlir::Value> values;
    llvm::StringMap<mlir::Type> types; ///< From the value infos.
    mlir::Value none;
    mlir::Value lookup(llvm::StringRef name) const;
    mlir::Type lookupType(llvm::StringRef name) const;
  };
  /// A call of a model-local function that is being inlined.
  struct Call {
    const ::onnx::NodeProto &node;
    const ::onnx::FunctionProto &function;
    const Call *parent;
    std::string name; ///< Prefix of the names of its nodes.
    unsigned depth;
  };

  mlir::LogicalResult declareSymbols();
  mlir::LogicalResult collectFunctions();
  mlir::LogicalResult collectTypes(const ::onnx::GraphProto &graph,
                                   Scope &scope);
  mlir::LogicalResult importInitializers(const ::onnx::GraphProto &graph,
                                         const llvm::StringSet<> &used,
                                         Scope &scope);
  mlir::LogicalResult importNodes(const Nodes &nodes, Scope &scope,
                                  const Call *call);
  mlir::LogicalResult importNode(const ::onnx::NodeProto &node, Scope &scope,
                                 const Call *call);
  mlir::LogicalResult importConstant(const ::onnx::NodeProto &node,
                                     mlir::Location loc, Scope &scope,
                                     const Call *call);
  mlir::LogicalResult importCall(const Call &call, mlir::Location loc,
                                 Scope &scope);
  mlir::LogicalResult importRegion(const ::onnx::GraphProto &graph,
                                   mlir::Location loc, mlir::Region &region,
                                   const Scope &parent, const Call *call);
  mlir::LogicalResult importAttribute(const ::onnx::AttributeProto &attribute,
                                      mlir::Location loc,
                                      mlir::NamedAttrList &attrs);
  /// A tensor as onnx.Constant or ganq.parameter.
  mlir::FailureOr<mlir::Value> importTensor(const ::onnx::TensorProto &tensor,
                                            mlir::Location loc,
                                            llvm::StringRef name);
  mlir::FailureOr<mlir::Value>
  importSparseTensor(const ::onnx::SparseTensorProto &tensor,
                     mlir::Location loc);

  /// The attribute that a call gives for a reference inside its function; the
  /// attribute itself otherwise; null when the call leaves it out.
  const ::onnx::AttributeProto *resolve(const ::onnx::AttributeProto &attribute,
                                        const Call *call) const;
  const ::onnx::FunctionProto *
  lookupFunction(const ::onnx::NodeProto &node) const;
  mlir::FailureOr<llvm::SmallVector<int>> sortNodes(const Nodes &nodes,
                                                    const Scope &scope);
  mlir::LogicalResult define(Scope &scope, llvm::StringRef name,
                             mlir::Value value, mlir::Location loc);
  mlir::Location getLoc(llvm::StringRef name) const;

  mlir::OpBuilder builder;
  const ::onnx::ModelProto &model;
  const ImportOptions &options;
  mlir::Location fileLoc;
  llvm::StringMap<int64_t> bindings;
  ValueTypes types;
  TensorReader tensors;
  WeightNames names;
  llvm::StringMap<const ::onnx::FunctionProto *> functions;
  /// Default attributes of functions, a field newer than the message classes.
  llvm::DenseMap<const ::onnx::FunctionProto *,
                 std::vector<::onnx::AttributeProto>>
      functionDefaults;
};

} // namespace ganq::onnx

#endif // GANQ_LIB_ONNX_IMPORT_GRAPHIMPORTER_H
