//===- Diagnostics.cpp - Messages for users of the tools ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Onnx/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

/// Adds the names and places that a location stands for, each once: an
/// operation that passes merged has several, one that they made up has none.
static void describe(Location location, SmallVectorImpl<std::string> &places) {
  std::string place;
  llvm::raw_string_ostream os(place);
  if (auto name = dyn_cast<NameLoc>(location)) {
    os << name.getName();
  } else if (auto file = dyn_cast<FileLineColLoc>(location)) {
    os << file.getFilename().getValue() << ':' << file.getLine() << ':'
       << file.getColumn();
  } else if (auto call = dyn_cast<CallSiteLoc>(location)) {
    return describe(call.getCallee(), places);
  } else if (auto fused = dyn_cast<FusedLoc>(location)) {
    for (Location inner : fused.getLocations())
      describe(inner, places);
  } else if (auto opaque = dyn_cast<OpaqueLoc>(location)) {
    return describe(opaque.getFallbackLocation(), places);
  }
  if (!place.empty() && !llvm::is_contained(places, place))
    places.push_back(place);
}

void ganq::onnx::printDiagnostic(Diagnostic &diagnostic,
                                 llvm::raw_ostream &stream) {
  StringRef severity =
      diagnostic.getSeverity() == DiagnosticSeverity::Error     ? "error"
      : diagnostic.getSeverity() == DiagnosticSeverity::Warning ? "warning"
      : diagnostic.getSeverity() == DiagnosticSeverity::Remark  ? "remark"
                                                                : "note";
  stream << severity << ": ";
  SmallVector<std::string> places;
  describe(diagnostic.getLocation(), places);
  constexpr size_t kMaxPlaces = 4;
  if (places.size() > kMaxPlaces) {
    places.resize(kMaxPlaces);
    places.push_back("...");
  }
  if (!places.empty())
    stream << llvm::join(places, ", ") << ": ";
  stream << diagnostic << "\n";
  for (Diagnostic &note : diagnostic.getNotes())
    printDiagnostic(note, stream);
}
