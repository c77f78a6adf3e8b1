//===- GanqAttributes.td - Attributes of the ganq dialect --*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_IR_GANQATTRIBUTES_TD
#define GANQ_IR_GANQATTRIBUTES_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
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

def Ganq_PackedRowsAttr : Ganq_Attr<"PackedRows", "packed_rows"> {
  let summary = "Rows of packed elements that are rearranged when stored";
  let description = [{
    How the bytes of an imported quantized weight become a component of a
    scheme: they are `rows` rows, one every `stride` bits, with `columns`
    elements of `bits` bits, the first one in the low bits of its byte. Integers
    are xor-ed with `flip`, which makes signed ones unsigned with their middle
    in the middle. With `codes` they are stored in the lane order of
    `CodeLayout`; without, each element becomes an element of the parameter's
    type, and rows are added up to its first dimension, with zeros. `value`
    holds the bytes when the model has them inline.

    Constraints: (packed-rows-bits) bits is 2, 4 or a multiple of 8;
    (packed-rows-stride) a row fits its stride, a multiple of the bits, of 8
    from 8 on; (packed-rows-value) the value has as many bytes as the rows.

    ```mlir
    #ganq.packed_rows<bits = 4, rows = 64, columns = 128, stride = 512,
                      codes = true>
    ```
  }];
  let parameters = (ins "unsigned":$bits, "int64_t":$rows, "int64_t":$columns,
      "int64_t":$stride, DefaultValuedParameter<"unsigned", "0">:$flip,
      DefaultValuedParameter<"bool", "false">:$codes,
      OptionalParameter<"::mlir::DenseElementsAttr">:$value);
  let extraClassDeclaration = [{
    /// Bytes of all rows.
    int64_t getBytes() const { return (getRows() * getStride() + 7) / 8; }
  }];
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Ganq_GpuOperand : I32EnumAttr<"GpuOperand", "Operand of a GPU kernel", [
    I32EnumAttrCase<"codes", 0>, I32EnumAttrCase<"table", 1>,
    I32EnumAttrCase<"scale", 2>, I32EnumAttrCase<"zero", 3>,
    I32EnumAttrCase<"weight_sum", 4>]> {
  let cppNamespace = "::ganq";
  let genSpecializedAttr = 0;
}

// The values of GpuLayout::Order.
def Ganq_GpuOrder : I32EnumAttr<"GpuOrder", "Order of codes for GPU kernels", [
    I32EnumAttrCase<"table", 0>, I32EnumAttrCase<"halves", 1>,
    I32EnumAttrCase<"exponent", 2>, I32EnumAttrCase<"bytes", 3>,
    I32EnumAttrCase<"planes", 4>]> {
  let cppNamespace = "::ganq";
  let genSpecializedAttr = 0;
}

def Ganq_GpuPackedAttr : Ganq_Attr<"GpuPacked", "gpu_packed"> {
  let summary = "An operand of a GPU kernel, made of a weight's components";
  let description = [{
    The parameter is `operand` of a kernel of `GpuMatmulSpec` for an [n, k]
    weight of `scheme`, made of its stored tensors, which have the keys
    `components` in the order in which the scheme lists them:

    | operand | shape | |
    |---|---|---|
    | `codes` | bytes | the codes in `order` (`GpuLayout`), with bit j of a code from bit `exponent_bit` + j of a float on where that is `exponent` |
    | `table` | [Np, 2^bits] | as stored |
    | `scale` | [groups, Np] | transposed |
    | `zero` | [groups, Np] | transposed, as floats |
    | `weight_sum` | [Np] | i32, sums of the codes of rows |

    Np is n rounded up to 32; further rows are zero.

    Constraints: (gpu-packed-shape) n and k are positive; (gpu-packed-scheme)
    scheme is a scheme; (gpu-packed-components) components are names, codes
    first.

    ```mlir
    %c = ganq.parameter "w.gpu.codes"
           gpu <scheme = #ganq.lut<bits = 4>, n = 64, k = 128, operand = codes,
                order = table, components = ["w.codes", "w.table"]>
           : memref<4096xi8>
    ```
  }];
  let parameters = (ins "::mlir::Attribute":$scheme, "int64_t":$n,
      "int64_t":$k, "::ganq::GpuOperand":$operand, "::ganq::GpuOrder":$order,
      DefaultValuedParameter<"int64_t", "0">:$exponent_bit,
      "::mlir::ArrayAttr":$components);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

class Ganq_SchemeAttr<string name, string attrMnemonic,
                      list<string> overridden = []>
    : Ganq_Attr<name, attrMnemonic,
        [DeclareAttrInterfaceMethods<Ganq_SchemeAttrInterface, overridden>]> {
  let genVerifyDecl = 1;
}

def Ganq_LutAttr : Ganq_SchemeAttr<"Lut", "lut",
                                   ["getActivationBits", "getSumGroup"]> {
  let summary = "Codes into a table per row (GANQ, ICML 2025, section 3)";
  let description = [{
    W[n, k] = table[n / rows, k / group, code[n, k]], with `bits`-bit codes.
    `group` is the number of columns that share a table; 0 (the default) means
    the whole row. `rows` is the number of rows that share one: 1, or a tile of
    4, 8, ... rows. Entries of the type `entry` are f16 (the default), bf16, or
    the 8-bit types i8 and f8E4M3FN, which are multiplied by an f16 scale per
    row. `outliers` ten-thousandths of each row, and `full_rows` whole rows, are
    kept in a sparse part that is added to the table's values (GANQ*,
    Algorithm 2).

    With `activation` = A > 0 and entries of i8 the product is one of integers:
    each row of x is rounded to A-bit codes as with `#ganq.uniform`, and codes
    become bytes by their tables.

    Stored as tensors: `codes`, ui8 in the lane order of `CodeLayout`; `table`
    [N / rows, groups, 2^bits]; with 8-bit entries `scale`, f16 [N]; with an
    activation `sum`, i32 [N], the sum of the entries of each row; with a sparse
    part `outlier_start`, i32 [N + 1], and for each kept value
    `outlier_column`, ui16 (i32 beyond 65536 columns), and `outlier_value`,
    f16. N is padded to a multiple of 4.

    Constraints: (lut-bits) 1 <= bits <= 8; (lut-group) group is at most 2^30
    and 0, a multiple of the columns that one unit of codes holds (128 divided
    by the width of the narrowest plane), or a divisor of them and multiple of
    16; (lut-rows) rows is 1 or a multiple of 4 up to 1024; (lut-entry) entry is
    f16, bf16, i8 or f8E4M3FN; (lut-outliers) 0 <= outliers <= 5000, and 0 with
    8 bits, whose tables leave nothing to keep; (lut-full-rows) 0 <= full_rows
    <= N; (lut-activation) 0 <= activation <= 8, and 0 but with entries of i8
    and no sparse part; (lut-sum) K <= 33000 with an activation, so that sums
    fit 32 bits.

    ```mlir
    tensor<4096x4096xf32, #ganq.lut<bits = 4>>
    tensor<4096x4096xf32, #ganq.lut<bits = 3, group = 64, rows = 8, entry = f8E4M3FN>>
    tensor<4096x4096xf32, #ganq.lut<bits = 4, entry = i8, activation = 8>>
    ```
  }];
  let parameters = (ins "unsigned":$bits,
      DefaultValuedParameter<"int64_t", "0">:$group,
      DefaultValuedParameter<"int64_t", "1">:$rows,
      DefaultValuedParameter<"::mlir::Type",
                             "::mlir::Float16Type::get($_ctxt)">:$entry,
      DefaultValuedParameter<"int64_t", "0">:$outliers,
      DefaultValuedParameter<"int64_t", "0">:$full_rows,
      DefaultValuedParameter<"unsigned", "0">:$activation);
  let builders = [AttrBuilder<(ins "unsigned":$bits,
                                   CArg<"int64_t", "0">:$group), [{
    return $_get($_ctxt, bits, group, 1, ::mlir::Float16Type::get($_ctxt), 0,
                 0, 0);
  }]>,
                  AttrBuilder<(ins "unsigned":$bits, "int64_t":$group,
                                   "int64_t":$rows, "::mlir::Type":$entry,
                                   "int64_t":$outliers, "int64_t":$full_rows), [{
    return $_get($_ctxt, bits, group, rows, entry, outliers, full_rows, 0);
  }]>];
  let assemblyFormat = "`<` struct(params) `>`";
  let extraClassDeclaration = [{
    /// Whether table entries take eight bits and a scale per row.
    bool hasScale() const { return getEntry().getIntOrFloatBitWidth() == 8; }
    bool hasSparsePart() const { return getOutliers() || getFullRows(); }
    /// Values that each row keeps that is not kept as a whole.
    int64_t getOutliersPerRow(int64_t k) const;
  }];
}

def Ganq_UniformAttr : Ganq_SchemeAttr<"Uniform", "uniform", ["getActivationBits"]> {
  let summary = "Evenly spaced levels with a scale and a zero point";
  let description = [{
    W[n, k] = (code[n, k] - zero[n, g]) * scale[n, g] with g = k / group,
    unsigned codes in `bits` bits that are below `levels` (0, the default, for
    2^bits; five levels in three bits are the W2* of ABQ-LLM, section 3.4).
    `group` 0 (the default) means one scale for the whole row. `scale` is f16
    (the default), bf16 or f32.

    With `activation` = A > 0 the product is one of integers (ABQ-LLM, AAAI
    2025): each row of x is rounded to A-bit unsigned codes with a scale and a
    zero point of its own when the product runs.

    With `smooth`, the stored matrix is W diag(input_scale), and the product
    reads x / input_scale; with `shift` it reads (x - input_shift) /
    input_scale, and offset = W input_shift is added to the result.

    Stored as tensors: `codes`, ui8 in the lane order of `CodeLayout`; `scale`
    [N, groups]; `zero`, ui8 of the same shape; with an activation `sum`, the
    sum of the codes of each group, i32 (ui16 where it fits) of the same shape;
    with `smooth` `input_scale`, f16 [K]; with `shift` `input_shift`, f16 [K],
    and `offset`, f32 [N]. N is padded to a multiple of 4.

    Constraints: (uniform-bits) 1 <= bits <= 8; (uniform-group) group is at most
    2^30 and 0, a multiple of the columns that one unit of codes holds (128
    divided by the width of the narrowest plane), or a divisor of them and
    multiple of 16; (uniform-levels) levels is 0 or between 2 and 2^bits;
    (uniform-scale) scale is f16, bf16 or f32; (uniform-activation) 0 <=
    activation <= 8; (uniform-shift) shift only with an activation;
    (uniform-sum) K <= 33000 with an activation, so that sums fit 32 bits.
  }];
  let parameters = (ins "unsigned":$bits,
      DefaultValuedParameter<"int64_t", "0">:$group,
      DefaultValuedParameter<"unsigned", "0">:$levels,
      DefaultValuedParameter<"::mlir::Type",
                             "::mlir::Float16Type::get($_ctxt)">:$scale,
      DefaultValuedParameter<"unsigned", "0">:$activation,
      DefaultValuedParameter<"bool", "false">:$smooth,
      DefaultValuedParameter<"bool", "false">:$shift);
  let builders = [AttrBuilder<(ins "unsigned":$bits,
                                   CArg<"int64_t", "0">:$group,
                                   CArg<"unsigned", "0">:$activation), [{
    return $_get($_ctxt, bits, group, 0, ::mlir::Float16Type::get($_ctxt),
                 activation, false, false);
  }]>];
  let assemblyFormat = "`<` struct(params) `>`";
  let extraClassDeclaration = [{
    /// Number of levels.
    unsigned getLevelCount() const {
      return getLevels() ? getLevels() : 1u << getBits();
    }
  }];
}

def Ganq_PotGrid : I32EnumAttr<"PotGrid", "Levels of a power-of-two scheme", [
    I32EnumAttrCase<"pot", 0>, I32EnumAttrCase<"stride2", 1>,
    I32EnumAttrCase<"half", 2>, I32EnumAttrCase<"third", 3>]> {
  let cppNamespace = "::ganq";
  let genSpecializedAttr = 0;
}

def Ganq_PotAttr : Ganq_SchemeAttr<"Pot", "pot", ["getFixedLevels"]> {
  let summary = "Power-of-two levels, decoded by one integer add (PoTPTQ, 2025)";
  let description = [{
    W[n, k] = scale[n, k / group] * level[code[n, k]]. A code is a sign bit
    above bits - 1 bits of magnitude, which are an exponent E above `mantissa`
    bits M. No level is zero:

    | grid | magnitude | |
    |---|---|---|
    | `pot` | 2^E | PoTPTQ, equations 1 to 5 |
    | `stride2` | 4^E | |
    | `half`, `third` | (M + f) / 2^m for E = 0, else (1 + (M + f) / 2^m) 2^(E - 1), f = 1/2 or 1/3 | a float without zero: a constant bit below its mantissa |

    Scales are f16 (the default) or bf16, positive and normal, and so small that
    adding E to their exponent field is the multiplication, bit for bit.

    Stored as `codes`, ui8 in the lane order of `CodeLayout`, and `scale`
    [N padded to 4, groups].

    Constraints: (pot-bits) 2 <= bits <= 8; (pot-group) group is at most 2^30
    and 0, a multiple of the columns that one unit of codes holds (128 divided
    by the width of the narrowest plane), or a divisor of them and multiple of
    16; (pot-grid) mantissa is 0 with grids `pot` and `stride2`, else below
    bits - 1, and the greatest level does not exceed 2^8; (pot-scale) scale is
    f16 or bf16.
  }];
  let parameters = (ins "unsigned":$bits,
      DefaultValuedParameter<"int64_t", "0">:$group,
      DefaultValuedParameter<"::ganq::PotGrid", "::ganq::PotGrid::pot">:$grid,
      DefaultValuedParameter<"unsigned", "0">:$mantissa,
      DefaultValuedParameter<"::mlir::Type",
                             "::mlir::Float16Type::get($_ctxt)">:$scale);
  let builders = [AttrBuilder<(ins "unsigned":$bits,
                                   CArg<"int64_t", "0">:$group,
                                   CArg<"::ganq::PotGrid",
                                        "::ganq::PotGrid::pot">:$grid,
                                   CArg<"unsigned", "0">:$mantissa), [{
    return $_get($_ctxt, bits, group, grid, mantissa,
                 ::mlir::Float16Type::get($_ctxt));
  }]>];
  let assemblyFormat = "`<` struct(params) `>`";
}

def Ganq_Strategy : I32EnumAttr<"Strategy", "How codes are multiplied", [
    I32EnumAttrCase<"int8", 0>, I32EnumAttrCase<"popcount", 1>]> {
  let cppNamespace = "::ganq";
  let genSpecializedAttr = 0;
}

def Ganq_StrategyAttr : EnumAttr<Ganq_Dialect, Ganq_Strategy, "strategy"> {
  let summary = "How a product of integers is computed";
  let description = [{
    `int8`: codes are widened to bytes and go through dot products of bytes.
    `popcount`: pairs of bit planes are combined with and, and ones are counted
    (ABQ-LLM, AAAI 2025, section 3.5).
  }];
  let assemblyFormat = "`<` $value `>`";
}

def Ganq_NfAttr : Ganq_SchemeAttr<"Nf", "nf", ["getFixedLevels"]> {
  let summary = "Quantiles of a normal distribution times a scale";
  let description = [{
    W[n, k] = scale[n, k / group] * level[code[n, k]], the levels being fixed:
    quantiles of a normal distribution between -1 and 1 with a zero among them,
    as the NF4 of QLoRA (NeurIPS 2023, section 3). A baseline.

    Stored as `codes`, ui8 in the lane order of `CodeLayout`, and `scale`, f16
    [N padded to 4, groups].

    Constraints: (nf-bits) 2 <= bits <= 8; (nf-group) group is at most 2^30 and
    0, a multiple of the columns that one unit of codes holds (128 divided by
    the width of the narrowest plane), or a divisor of them and multiple of 16.
  }];
  let parameters = (ins "unsigned":$bits,
                        DefaultValuedParameter<"int64_t", "0">:$group);
  let assemblyFormat = "`<` struct(params) `>`";
}

#endif // GANQ_IR_GANQATTRIBUTES_TD
