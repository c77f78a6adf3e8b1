//===- SchemeText.h - Schemes as users write them ---------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SCHEMES_SCHEMETEXT_H
#define GANQ_SCHEMES_SCHEMETEXT_H

#include "ganq/IR/GanqDialect.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <utility>
#include <vector>

namespace ganq {

/// A scheme before it is an attribute: `none`, a family with options (`lut`
/// with `bits` 3), or the text of an attribute (`lut<bits = 3, rows = 8>`).
/// Options are called as on the command line, so `table-rows` is the
/// attribute's `rows`; `_` may stand for `-`.
class SchemeText {
public:
  SchemeText() = default;
  /// Splits `text`; fails if it names no family or a field that it lacks.
  static llvm::Expected<SchemeText> parse(llvm::StringRef text);

  bool isNone() const { return family == "none"; }
  /// True for the text of an attribute, which says everything about it: what it
  /// leaves out are the attribute's defaults, not those of the command line.
  bool isAttribute() const { return attribute; }
  llvm::StringRef getFamily() const { return family; }

  /// Sets an option; fails if the family has no such option or the value is no
  /// value of it.
  llvm::Error set(llvm::StringRef option, llvm::StringRef value);

  /// The scheme. Fails with the message of the attribute's verifier, or if this
  /// is `none`.
  llvm::Expected<SchemeAttrInterface> get(mlir::MLIRContext *context) const;

private:
  const std::string *find(llvm::StringRef field) const;

  std::string family = "none";
  bool attribute = false;
  /// Names and values in the attribute's own form.
  std::vector<std::pair<std::string, std::string>> fields;
};

/// Names of the options that belong to some family, in the order of their
/// importance.
llvm::ArrayRef<llvm::StringLiteral> getSchemeOptions();

/// The text of a scheme without the dialect's prefix: `lut<bits = 3>`.
std::string getSchemeText(SchemeAttrInterface scheme);

} // namespace ganq

#endif // GANQ_SCHEMES_SCHEMETEXT_H
