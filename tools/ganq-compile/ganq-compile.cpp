//===- ganq-compile.cpp - Compiles an ONNX model --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Compile.h"

int main(int argc, char **argv) { return ganq::compileMain(argc, argv); }
