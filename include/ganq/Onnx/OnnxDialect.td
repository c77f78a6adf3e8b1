//===- OnnxDialect.td - The onnx dialect -------------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_ONNX_ONNXDIALECT_TD
#define GANQ_ONNX_ONNXDIALECT_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Onnx_Dialect : Dialect {
  let name = "onnx";
  let cppNamespace = "::ganq::onnx";
  let summary = "ONNX graphs as they come from a file";
  let description = [{
    A thin image of the ONNX format. The operators are no TableGen records:
    they are registered from one schema table when the dialect is loaded, named
    `onnx.<Op>` for the default domain and `onnx.<domain>.<Op>` otherwise.
    Operators that the table does not know are kept as unregistered operations.
    Attributes have their ONNX names. All operations print in generic form.
  }];
  let isExtensible = 1;
  let hasOperationInterfaceFallback = 1;
  let useDefaultTypePrinterParser = 1;
  let usePropertiesForAttributes = 0;
}

class Onnx_Type<string name, string typeMnemonic> : TypeDef<Onnx_Dialect, name> {
  let mnemonic = typeMnemonic;
}

def Onnx_AnyType : Onnx_Type<"Any", "any"> {
  let summary = "Element type that the file does not tell";
}
def Onnx_StringType : Onnx_Type<"String", "string"> {
  let summary = "A string element";
}
class Onnx_ContainerType<string name, string typeMnemonic>
    : Onnx_Type<name, typeMnemonic> {
  let parameters = (ins "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $elementType `>`";
}
def Onnx_SequenceType : Onnx_ContainerType<"Sequence", "sequence"> {
  let summary = "A sequence of values";
}
def Onnx_OptionalType : Onnx_ContainerType<"Optional", "optional"> {
  let summary = "A value that may be absent";
}
def Onnx_SparseType : Onnx_ContainerType<"Sparse", "sparse"> {
  let summary = "A sparse tensor, given as the dense tensor type";
}
def Onnx_MapType : Onnx_Type<"Map", "map"> {
  let summary = "A map from integers or strings to values";
  let parameters = (ins "::mlir::Type":$keyType, "::mlir::Type":$valueType);
  let assemblyFormat = "`<` $keyType `,` $valueType `>`";
}

class Onnx_Op<string mnemonic, list<Trait> traits = []>
    : Op<Onnx_Dialect, mnemonic, traits>;

def Onnx_NoneOp : Onnx_Op<"None", [Pure]> {
  let summary = "An optional operand that is left out";
  let results = (outs NoneType:$result);
}

def Onnx_ConstantOp : Onnx_Op<"Constant", [Pure, ConstantLike]> {
  let summary = "A small constant";
  let description = [{
    The value is a dense attribute of the result's type. Larger constants are
    `ganq.parameter` operations.

    ```mlir
    %axes = "onnx.Constant"() {value = dense<[0, 1]> : tensor<2xi64>}
        : () -> tensor<2xi64>
    ```
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs AnyType:$result);
  let hasFolder = 1;
}

def Onnx_YieldOp : Onnx_Op<"Yield", [Pure, Terminator]> {
  let summary = "Ends a graph attribute and gives its outputs";
  let arguments = (ins Variadic<AnyType>:$values);
}

#endif // GANQ_ONNX_ONNXDIALECT_TD
