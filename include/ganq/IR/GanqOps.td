//===- GanqOps.td - Operations of the ganq dialect ---------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_IR_GANQOPS_TD
#define GANQ_IR_GANQOPS_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "ganq/IR/GanqAttributes.td"
include "ganq/IR/GanqDialect.td"
include "ganq/IR/GanqInterfaces.td"

class Ganq_Op<string mnemonic, list<Trait> traits = []>
    : Op<Ganq_Dialect, mnemonic, traits>;

def Ganq_FloatShaped : AnyTypeOf<[RankedTensorOf<[AnyFloat]>,
                                  MemRefRankOf<[AnyFloat], [1, 2, 3, 4, 5, 6]>]>;
// Floats, or the records of `ganq.quantize_rows`.
def Ganq_FloatOrRecords : AnyTypeOf<[
    RankedTensorOf<[AnyFloat, I8]>,
    MemRefRankOf<[AnyFloat, I8], [1, 2, 3, 4, 5, 6]>]>;
def Ganq_Storage : AnyTypeOf<[AnyRankedTensor, AnyMemRef]>;

// A compute op with a tensor form and a buffer form. `out` closes the operand
// list in the buffer form; `result` stands in the tensor form.
class Ganq_KernelOp<string mnemonic, list<Trait> traits = []>
    : Ganq_Op<mnemonic, !listconcat([
        DeclareOpInterfaceMethods<Ganq_KernelOpInterface>,
        DeclareOpInterfaceMethods<MemoryEffectsOpInterface>], traits)> {
  let results = (outs Optional<AnyRankedTensor>:$result);
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

def Ganq_ParameterOp : Ganq_Op<"parameter", [Pure]> {
  let summary = "A weight, by its key";
  let description = [{
    A constant whose bytes stay in their file. `source` says where they lie;
    without it the key is looked up in the parameter store of the tool. With
    `transposed` the stored matrix is [K, N] and is seen as [N, K]
    (constraint parameter-transposed: rank 2 only). A scheme as the encoding of
    the result type says how the weight is stored in the compiled model.
    `packed_rows` says how the bytes at `source` become the tensor, where they
    are not it as they lie. `gpu_packed` says that, and how, it is made of the
    stored tensors of a quantized weight.

    ```mlir
    %w = ganq.parameter "layers.0.q_proj.weight"
           from #ganq.external<"model.onnx", 512, 16384> transposed
           : tensor<64x64xf32>
    ```
  }];
  let arguments = (ins StrAttr:$key, OptionalAttr<Ganq_ExternalAttr>:$source,
                       UnitAttr:$transposed,
                       OptionalAttr<Ganq_PackedRowsAttr>:$packed_rows,
                       OptionalAttr<Ganq_GpuPackedAttr>:$gpu_packed);
  let results = (outs Ganq_Storage:$result);
  let builders = [
    OpBuilder<(ins "::mlir::Type":$type, "::mlir::StringAttr":$key,
                   "::ganq::ExternalAttr":$source,
                   "::mlir::UnitAttr":$transposed), [{
      build($_builder, $_state, type, key, source, transposed,
            PackedRowsAttr(), GpuPackedAttr());
    }]>,
    OpBuilder<(ins "::mlir::Type":$type, "::llvm::StringRef":$key,
                   "::ganq::ExternalAttr":$source, "bool":$transposed), [{
      build($_builder, $_state, type, key, source, transposed,
            PackedRowsAttr(), GpuPackedAttr());
    }]>];
  let assemblyFormat = [{
    $key (`from` $source^)? (`transposed` $transposed^)?
    (`rows` $packed_rows^)? (`gpu` $gpu_packed^)? attr-dict
    `:` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Matrix products
//===----------------------------------------------------------------------===//

def Ganq_MatmulOp : Ganq_KernelOp<"matmul", [AttrSizedOperandSegments]> {
  let summary = "y = x W^T + bias";
  let description = [{
    x is [..., K], the weight [N, K], the bias [N], the result [..., N].
    Products are accumulated in f32.
  }];
  let arguments = (ins Ganq_FloatShaped:$x, Ganq_FloatShaped:$weight,
                       Optional<Ganq_FloatShaped>:$bias,
                       Optional<AnyMemRef>:$out);
  let assemblyFormat = [{
    $x `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`out` `(` $out^ `:` type($out) `)`)? attr-dict
    `:` type($x) `,` type($weight) (`->` type($result)^)?
  }];
}

def Ganq_PackedMatmulOp : Ganq_KernelOp<"packed_matmul", [AttrSizedOperandSegments]> {
  let summary = "y = x W^T + bias with W in the storage of its scheme";
  let description = [{
    The weight is given by the components of `scheme` (see
    `SchemeAttrInterface::getComponents`), which together hold an [n, k]
    matrix. No float copy of the weight is ever made.

    With a scheme that rounds activations, x are the records of
    `ganq.quantize_rows` for the scheme's activation bits and the columns that
    share a scale, and `strategy` says how integers are multiplied. Products of
    codes are added up in 32-bit integers over those columns (constraint
    packed-matmul-records).
  }];
  let arguments = (ins Ganq_FloatOrRecords:$x,
                       Variadic<Ganq_Storage>:$components,
                       Optional<Ganq_FloatShaped>:$bias,
                       Optional<AnyMemRef>:$out,
                       Ganq_SchemeAttrInterface:$scheme,
                       I64Attr:$n, I64Attr:$k,
                       OptionalAttr<Ganq_StrategyAttr>:$strategy);
  let assemblyFormat = [{
    $x `weight` `(` $components `:` type($components) `)`
    (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`out` `(` $out^ `:` type($out) `)`)? attr-dict
    `:` type($x) (`->` type($result)^)?
  }];
}

def Ganq_QuantizeRowsOp : Ganq_KernelOp<"quantize_rows", [AttrSizedOperandSegments]> {
  let summary = "Rows of x as unsigned codes with a scale and a zero point each";
  let description = [{
    x is [..., K], the result [..., bytes] of the record that `ActivationLayout`
    describes. For each row, with the range widened to hold zero,

    ```
    scale = (max - min) / (2^bits - 1)     zero = round(-min / scale)
    code  = clamp(round(x / scale) + zero, 0, 2^bits - 1)
    ```

    as in ABQ-LLM (AAAI 2025); rounding is to even. A row of zeros has scale 0.
    A row with an infinity or nan has the scale nan, so that all products with
    it are nan. `scale` and `shift` are [K]: the op reads
    (x - shift) / scale.

    `group` is the weight's group, for each of which the sum of codes is kept.
    `plane_bits` is 0 for bytes, or the bits of the weight's codes for planes.

    Constraints: (quantize-rows-bits) 1 <= bits <= 8, 0 <= plane_bits <= 8;
    (quantize-rows-group) group is 0 or a positive multiple of 16;
    (quantize-rows-columns) K is static.

    ```mlir
    %r = ganq.quantize_rows %x {bits = 8} : tensor<1x?x64xf32> -> tensor<1x?x128xi8>
    ```
  }];
  let arguments = (ins Ganq_FloatShaped:$x,
                       Optional<Ganq_FloatShaped>:$scale,
                       Optional<Ganq_FloatShaped>:$shift,
                       Optional<AnyMemRef>:$out, I64Attr:$bits,
                       DefaultValuedAttr<I64Attr, "0">:$group,
                       DefaultValuedAttr<I64Attr, "0">:$plane_bits);
  let assemblyFormat = [{
    $x (`scale` `(` $scale^ `:` type($scale) `)`)?
    (`shift` `(` $shift^ `:` type($shift) `)`)?
    (`out` `(` $out^ `:` type($out) `)`)? attr-dict
    `:` type($x) (`->` type($result)^)?
  }];
}

//===----------------------------------------------------------------------===//
// Normalization and activation
//===----------------------------------------------------------------------===//

def Ganq_RmsNormOp : Ganq_KernelOp<"rms_norm", [AttrSizedOperandSegments]> {
  let summary = "x / sqrt(mean(x^2) + epsilon) * weight over the last dimension";
  let arguments = (ins Ganq_FloatShaped:$x, Optional<Ganq_FloatShaped>:$weight,
                       Optional<AnyMemRef>:$out, F32Attr:$epsilon);
  let assemblyFormat = [{
    $x (`weight` `(` $weight^ `:` type($weight) `)`)?
    (`out` `(` $out^ `:` type($out) `)`)? attr-dict
    `:` type($x) (`->` type($result)^)?
  }];
}

def Ganq_LayerNormOp : Ganq_KernelOp<"layer_norm", [AttrSizedOperandSegments]> {
  let summary = "(x - mean) / sqrt(var + epsilon) * weight + bias over the last dimension";
  let arguments = (ins Ganq_FloatShaped:$x, Optional<Ganq_FloatShaped>:$weight,
                       Optional<Ganq_FloatShaped>:$bias,
                       Optional<AnyMemRef>:$out, F32Attr:$epsilon);
  let assemblyFormat = [{
    $x (`weight` `(` $weight^ `:` type($weight) `)`)?
    (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`out` `(` $out^ `:` type($out) `)`)? attr-dict
    `:` type($x) (`->` type($result)^)?
  }];
}

def Ganq_SwigluOp : Ganq_KernelOp<"swiglu"> {
  let summary = "gate / (1 + exp(-gate)) * up";
  let description = "Both operands and the result have one shape.";
  let arguments = (ins Ganq_FloatShaped:$gate, Ganq_FloatShaped:$up,
                       Optional<AnyMemRef>:$out);
  let assemblyFormat = [{
    $gate `,` $up (`out` `(` $out^ `:` type($out) `)`)? attr-dict
    `:` type($gate) `,` type($up) (`->` type($result)^)?
  }];
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

def Ganq_RopeOp : Ganq_KernelOp<"rope"> {
  let summary = "Rotary position embedding";
  let description = [{
    x is [B, H, S, D]; cos and sin are [S, R/2] with R <= D. The first R
    elements of each head are rotated: pairs (i, i + R/2), or (2i, 2i + 1) when
    `interleaved`; the rest is copied.
  }];
  let arguments = (ins Ganq_FloatShaped:$x, Ganq_FloatShaped:$cos,
                       Ganq_FloatShaped:$sin, Optional<AnyMemRef>:$out,
                       UnitAttr:$interleaved);
  let assemblyFormat = [{
    $x `,` $cos `,` $sin (`interleaved` $interleaved^)?
    (`out` `(` $out^ `:` type($out) `)`)? attr-dict
    `:` type($x) `,` type($cos) `,` type($sin) (`->` type($result)^)?
  }];
}

def Ganq_AttentionOp : Ganq_KernelOp<"attention", [AttrSizedOperandSegments]> {
  let summary = "softmax(scale q k^T + mask) v with grouped-query heads";
  let description = [{
    q is [B, Hq, S, D], k [B, Hkv, T, D], v [B, Hkv, T, Dv], the result
    [B, Hq, S, Dv]. Query head h reads key head h / (Hq / Hkv) (constraint
    attention-heads: Hkv divides Hq). `mask` is added to the scaled scores and
    is [B or 1, Hq or 1, S or 1, T]. With `causal`, query i sees keys
    0 .. past + i; without a `past` operand past is T - S. Keys beyond
    past + S are never read when `causal` is set. k and v may be caches of
    another precision than q: floats, or the records of `CacheLayout`
    (constraint attention-records: their last size is static and above 4).
  }];
  let arguments = (ins Ganq_FloatShaped:$q, Ganq_FloatOrRecords:$k,
                       Ganq_FloatOrRecords:$v, Optional<Ganq_FloatShaped>:$mask,
                       Optional<Index>:$past, Optional<AnyMemRef>:$out,
                       F32Attr:$scale, UnitAttr:$causal);
  let assemblyFormat = [{
    $q `,` $k `,` $v (`mask` `(` $mask^ `:` type($mask) `)`)?
    (`past` `(` $past^ `)`)? (`causal` $causal^)?
    (`out` `(` $out^ `:` type($out) `)`)? attr-dict
    `:` type($q) `,` type($k) `,` type($v) (`->` type($result)^)?
  }];
}

def Ganq_PastLengthOp : Ganq_Op<"past_length", [Pure]> {
  let summary = "Tokens that were already seen when this call starts";
  let results = (outs Index:$result);
  let assemblyFormat = "attr-dict";
}

def Ganq_PositionRowsOp : Ganq_KernelOp<"position_rows"> {
  let summary = "Rows past .. past + count - 1 of a table of positions";
  let description = [{
    The table is [P, C], the result [count, C]. The caller keeps
    past + count <= P.
  }];
  let arguments = (ins Ganq_Storage:$table, Index:$past, Index:$count,
                       Optional<AnyMemRef>:$out);
  let assemblyFormat = [{
    $table `[` $past `,` $count `]` (`out` `(` $out^ `:` type($out) `)`)?
    attr-dict `:` type($table) (`->` type($result)^)?
  }];
}

def Ganq_KvAppendOp : Ganq_Op<"kv_append", [Pure]> {
  let summary = "Keys or values of all tokens so far";
  let description = [{
    Concatenates past [B, H, P, D] and new [B, H, S, D] to [B, H, P + S, D];
    without `past` the result is `new`. Step functions replace it by
    `ganq.kv_update` on a buffer of the greatest length.
  }];
  let arguments = (ins Optional<AnyRankedTensor>:$past, AnyRankedTensor:$value);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $value (`past` `(` $past^ `:` type($past) `)`)? attr-dict
    `:` type($value) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ganq_KvUpdateOp : Ganq_Op<"kv_update", [
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "Writes the new keys or values into the cache, in place";
  let description = [{
    cache[:, :, past + i, :] = value[:, :, i, :] with cache [B, H, Tmax, D] and
    value [B, H, S, D]. The caller keeps past + S <= Tmax. The tensor form
    returns the cache, which bufferizes in place.

    The cache may hold floats of another precision, or in bytes the records of
    `CacheLayout`, [B, H, Tmax, D + 4]: rows rounded to 8 bits with a scale each
    (constraint kv-update-records: D is static).
  }];
  let arguments = (ins Ganq_Storage:$cache, Ganq_Storage:$value, Index:$past);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    $value `into` $cache `[` $past `]` attr-dict
    `:` type($value) `,` type($cache) (`->` type($result)^)?
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Calibration, dispatch, vectors
//===----------------------------------------------------------------------===//

def Ganq_ObserveOp : Ganq_Op<"observe"> {
  let summary = "Shows a tensor to the calibration observers";
  let description = [{
    x is [..., C] in f32; its rows reach the host's `observe` callback under
    the number `id`.
  }];
  let arguments = (ins Ganq_FloatShaped:$x, I64Attr:$id, StrAttr:$key);
  let assemblyFormat = "$x `as` $key $id attr-dict `:` type($x)";
}

def Ganq_DispatchOp : Ganq_Op<"dispatch",
    [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs a function over [0, count) on all threads";
  let description = [{
    The callee has the type (index lo, index hi, inputs...) -> () and is called
    for disjoint ranges that cover [0, count), in any order, at the same time.
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Index:$count,
                       Variadic<AnyType>:$inputs);
  let assemblyFormat = [{
    $callee `[` $count `]` `(` $inputs `)` attr-dict `:` `(` type($inputs) `)`
  }];
}

def Ganq_TableLookupOp : Ganq_Op<"table_lookup", [Pure]> {
  let summary = "result[i] = table[index[i]]";
  let description = [{
    A one-dimensional table in vector registers; the bits of an index above
    log2(table size) are ignored. Table sizes are powers of two.
  }];
  let arguments = (ins VectorOfRankAndType<[1], [AnyFloat]>:$table,
                       VectorOfRankAndType<[1], [I32]>:$index);
  let results = (outs VectorOfRankAndType<[1], [AnyFloat]>:$result);
  let assemblyFormat = [{
    $table `[` $index `]` attr-dict
    `:` type($table) `,` type($index) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // GANQ_IR_GANQOPS_TD
