//===- GanqAttributes.td - Attributes of the ganq dialect --*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_IR_GANQATTRIBUTES_TD
#define GANQ_IR_GANQATTRIBUTES_TD

include "mlir/IR/AttrTypeBase.td"
include "ganq/IR/GanqDialect.td"
include "ganq/IR/GanqInterfaces.td"

class Ganq_Attr<string name, string attrMnemonic, list<Trait> traits = []>
    : AttrDef<Ganq_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

def Ganq_ExternalAttr : Ganq_Attr<"External", "external"> {
  let summary = "Where the bytes of a parameter lie";
  let description = [{
    A byte range of a file, little-endian and row-major. The file name is
    relative to the folder of the model that the IR came from.

    ```mlir
    #ganq.external<"model.onnx.data", 4096, 65536>
    ```
  }];
  let parameters = (ins StringRefParameter<"file name">:$file,
                        "int64_t":$offset, "int64_t":$length);
  let assemblyFormat = "`<` $file `,` $offset `,` $length `>`";
  let genVerifyDecl = 1;
}

class Ganq_SchemeAttr<string name, string attrMnemonic>
    : Ganq_Attr<name, attrMnemonic,
        [DeclareAttrInterfaceMethods<Ganq_SchemeAttrInterface>]> {
  let genVerifyDecl = 1;
}

def Ganq_LutAttr : Ganq_SchemeAttr<"Lut", "lut"> {
  let summary = "Codes into a table per row (GANQ, ICML 2025, section 3)";
  let description = [{
    W[n, k] = table[n, k / group, code[n, k]], with `bits`-bit codes and f16
    table entries. `group` is the number of columns that share a table; 0 (the
    default) means one table for the whole row.

    Stored as two tensors: `codes`, ui8 in the lane order of `CodeLayout`, and
    `table`, f16 [N padded to 4, groups, 2^bits].

    Constraints: (lut-bits) 1 <= bits <= 8; (lut-group) group is 0 or a
    positive multiple of the columns that one unit of codes holds.

    ```mlir
    tensor<4096x4096xf32, #ganq.lut<bits = 4>>
    ```
  }];
  let parameters = (ins "unsigned":$bits,
                        DefaultValuedParameter<"int64_t", "0">:$group);
  let assemblyFormat = "`<` struct(params) `>`";
}

def Ganq_UniformAttr : Ganq_SchemeAttr<"Uniform", "uniform"> {
  let summary = "Evenly spaced levels with a scale and a zero point";
  let description = [{
    W[n, k] = (code[n, k] - zero[n, g]) * scale[n, g] with g = k / group,
    `bits`-bit unsigned codes, f16 scales and ui8 zero points. `group` 0 (the
    default) means one scale for the whole row.

    Stored as three tensors: `codes`, ui8 in the lane order of `CodeLayout`,
    `scale`, f16 [N padded to 4, groups], and `zero`, ui8 of the same shape.

    Constraints: (uniform-bits) 1 <= bits <= 8; (uniform-group) group is 0 or a
    positive multiple of the columns that one unit of codes holds.
  }];
  let parameters = (ins "unsigned":$bits,
                        DefaultValuedParameter<"int64_t", "0">:$group);
  let assemblyFormat = "`<` struct(params) `>`";
}

#endif // GANQ_IR_GANQATTRIBUTES_TD
