//===- SchemeRules.h - Which weight gets which scheme -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SCHEMES_SCHEMERULES_H
#define GANQ_SCHEMES_SCHEMERULES_H

#include "ganq/Schemes/SchemeText.h"
#include "llvm/Support/Regex.h"

namespace ganq {

/// One entry of a rules file.
struct SchemeRule {
  std::string match; ///< Regular expression on the weight's key.
  llvm::Regex regex;
  SchemeAttrInterface scheme; ///< Null: the weight keeps its precision.
  std::string solver;         ///< Empty: the command line's.
  std::string where;          ///< `file:line` of the entry.
  int64_t matches = 0;        ///< Keys that the expression matches.
  int64_t uses = 0;           ///< Keys that no earlier rule matches.
};

/// The rules of a file, in order: the first one that matches a key decides.
class SchemeRules {
public:
  /// Reads a YAML or JSON list of mappings with the keys `match`, `scheme`,
  /// `solver`, `keep` and the options of schemes. A rule without `scheme`
  /// changes options of `usual`. Errors begin with `file:line: `.
  static llvm::Expected<SchemeRules> read(mlir::MLIRContext *context,
                                          llvm::StringRef path,
                                          const SchemeText &usual);

  /// The rule for a weight, which counts as matched; null if there is none.
  const SchemeRule *find(llvm::StringRef key);

  /// Fails if a rule decided on none of the keys that were looked up.
  llvm::Error checkUsed() const;

private:
  std::vector<SchemeRule> rules;
};

} // namespace ganq

#endif // GANQ_SCHEMES_SCHEMERULES_H
