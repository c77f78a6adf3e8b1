//===- GanqDialect.td - The ganq dialect -------------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_IR_GANQDIALECT_TD
#define GANQ_IR_GANQDIALECT_TD

include "mlir/IR/OpBase.td"

def Ganq_Dialect : Dialect {
  let name = "ganq";
  let cppNamespace = "::ganq";
  let summary = "Language models with quantized weights";
  let description = [{
    Named operations of language models, weights as keys into files, and
    quantization schemes as encodings of the weights' tensor types.

    Compute ops have two forms. In the *tensor form* all operands are tensors
    and there is one tensor result. In the *buffer form* all operands are
    memrefs, the last one (`out`) is written, and there is no result.
    Bufferization turns the first into the second.
  }];
  let useDefaultAttributePrinterParser = 1;
}

#endif // GANQ_IR_GANQDIALECT_TD
