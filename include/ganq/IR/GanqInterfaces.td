//===- GanqInterfaces.td - Interfaces of the ganq dialect --*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_IR_GANQINTERFACES_TD
#define GANQ_IR_GANQINTERFACES_TD

include "mlir/IR/OpBase.td"

def Ganq_SchemeAttrInterface : AttrInterface<"SchemeAttrInterface"> {
  let cppNamespace = "::ganq";
  let description = [{
    A quantization scheme, used as the encoding of a weight's tensor type. The
    type keeps the logical shape [N, K] and element type; the scheme says how
    the values are stored.
  }];
  let methods = [
    InterfaceMethod<"Bits of one code.", "unsigned", "getCodeBits">,
    InterfaceMethod<[{
      Columns that share one table or scale; 0 stands for a whole row.
    }], "int64_t", "getGroupSize">,
    InterfaceMethod<"Short name for reports, such as `lut4`.", "std::string",
                    "getShortName">,
    InterfaceMethod<[{
      Bits of the activations that the product rounds to; 0 for products of
      floats.
    }], "unsigned", "getActivationBits", (ins), "", "return 0;">,
    InterfaceMethod<[{
      The level of each code where levels are fixed and only multiplied by a
      scale; empty for other schemes.
    }], "::llvm::SmallVector<float>", "getFixedLevels", (ins), "",
      "return {};">,
    InterfaceMethod<[{
      The stored tensors of an [N, K] weight, in the order in which
      `ganq.packed_matmul` takes them.
    }], "::llvm::SmallVector<::ganq::SchemeComponent>", "getComponents",
      (ins "int64_t":$n, "int64_t":$k)>,
    InterfaceMethod<"Checks that an [N, K] weight can be stored.",
      "::mlir::LogicalResult", "verifyWeight",
      (ins "::llvm::function_ref<::mlir::InFlightDiagnostic()>":$emitError,
           "int64_t":$n, "int64_t":$k)>,
    InterfaceMethod<[{
      Columns that a product of integers adds up before it multiplies by their
      scale; 0 stands for a whole row.
    }], "int64_t", "getSumGroup", (ins), "", "return $_attr.getGroupSize();">
  ];
}

def Ganq_KernelOpInterface : OpInterface<"KernelOpInterface"> {
  let cppNamespace = "::ganq";
  let description = [{
    A compute op that has a tensor form (tensor operands, one tensor result)
    and a buffer form (memref operands, the last one written, no result).
  }];
  let methods = [
    InterfaceMethod<[{
      Type of the result from the operand types; dimensions that no operand
      gives are dynamic. Null with a diagnostic when operands do not fit.
    }], "::mlir::ShapedType", "inferResult",
      (ins "::llvm::function_ref<::mlir::InFlightDiagnostic()>":$emitError)>,
    InterfaceMethod<"Sizes of the result, one per dimension.",
      "::llvm::SmallVector<::mlir::OpFoldResult>", "reifyResult",
      (ins "::mlir::OpBuilder &":$builder)>
  ];
}

#endif // GANQ_IR_GANQINTERFACES_TD
