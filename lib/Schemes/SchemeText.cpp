//===- SchemeText.cpp - Schemes as users write them -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/SchemeText.h"
#include "ganq/Support/Errors.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace mlir;
using namespace ganq;

namespace {

/// An option of the command line and the attribute's field behind it.
struct SchemeOption {
  StringLiteral option;
  StringLiteral field;
  enum Kind { Integer, Fraction, Word } kind;
};

struct SchemeFamily {
  StringLiteral name;
  ArrayRef<SchemeOption> options;
  /// Fields without an option of their own, for the attribute's text only.
  ArrayRef<StringLiteral> others;
};

} // namespace

static constexpr SchemeOption kLutOptions[] = {
    {"bits", "bits", SchemeOption::Integer},
    {"group", "group", SchemeOption::Integer},
    {"activation-bits", "activation", SchemeOption::Integer},
    {"outliers", "outliers", SchemeOption::Fraction},
    {"full-rows", "full_rows", SchemeOption::Integer},
    {"table-rows", "rows", SchemeOption::Integer},
    {"entry", "entry", SchemeOption::Word}};
static constexpr SchemeOption kUniformOptions[] = {
    {"bits", "bits", SchemeOption::Integer},
    {"group", "group", SchemeOption::Integer},
    {"activation-bits", "activation", SchemeOption::Integer},
    {"levels", "levels", SchemeOption::Integer},
    {"scale", "scale", SchemeOption::Word}};
static constexpr StringLiteral kUniformOthers[] = {"smooth", "shift"};
static constexpr SchemeOption kPotOptions[] = {
    {"bits", "bits", SchemeOption::Integer},
    {"group", "group", SchemeOption::Integer},
    {"grid", "grid", SchemeOption::Word},
    {"mantissa", "mantissa", SchemeOption::Integer},
    {"scale", "scale", SchemeOption::Word}};
static constexpr SchemeOption kNfOptions[] = {
    {"bits", "bits", SchemeOption::Integer},
    {"group", "group", SchemeOption::Integer}};
static const SchemeFamily kFamilies[] = {
    {"lut", kLutOptions, {}},
    {"uniform", kUniformOptions, kUniformOthers},
    {"pot", kPotOptions, {}},
    {"nf", kNfOptions, {}}};
static constexpr StringLiteral kAllOptions[] = {
    "bits",      "group",      "activation-bits", "levels", "outliers",
    "full-rows", "table-rows", "entry",           "grid",   "mantissa",
    "scale"};

ArrayRef<StringLiteral> ganq::getSchemeOptions() { return kAllOptions; }

static const SchemeFamily *findFamily(StringRef name) {
  const auto *it = llvm::find_if(
      kFamilies, [&](const SchemeFamily &f) { return f.name == name; });
  return it == std::end(kFamilies) ? nullptr : it;
}

const std::string *SchemeText::find(StringRef field) const {
  for (const auto &[name, value] : fields)
    if (name == field)
      return &value;
  return nullptr;
}

llvm::Expected<SchemeText> SchemeText::parse(StringRef text) {
  text = text.trim();
  text.consume_front("#ganq.");
  SchemeText scheme;
  size_t open = text.find('<');
  StringRef name = text.take_front(open).trim();
  const SchemeFamily *family = findFamily(name);
  if (!family && (name != "none" || open != StringRef::npos))
    return makeError("expected a scheme to be none, lut, uniform, pot or nf, "
                     "or a text such as `lut<bits = 3>`, but got `" +
                     text + "`");
  scheme.family = name.str();
  if (open == StringRef::npos)
    return scheme;

  scheme.attribute = true;
  StringRef body = text.drop_front(open + 1);
  if (!body.consume_back(">"))
    return makeError("expected the text of a scheme to end in `>`, but got `" +
                     text + "`");
  SmallVector<StringRef> parts;
  if (!body.trim().empty())
    body.split(parts, ',');
  for (StringRef part : parts) {
    StringRef key = part.split('=').first.trim();
    StringRef value = part.split('=').second.trim();
    bool known = llvm::is_contained(family->others, key) ||
                 llvm::any_of(family->options, [&](const SchemeOption &o) {
                   return o.field == key;
                 });
    if (!known) {
      std::string names;
      for (const SchemeOption &option : family->options)
        names += (names.empty() ? "" : ", ") + option.field.str();
      for (StringRef other : family->others)
        names += ", " + other.str();
      return makeError("expected a field of " + name + " (" + names +
                       "), but got `" + part.trim() + "`");
    }
    if (value.empty() || !llvm::all_of(value, [](char c) {
          return llvm::isAlnum(c) || c == '_' || c == '-';
        }))
      return makeError("expected a value for the field " + key + " of " + name +
                       ", but got `" + value + "`");
    if (scheme.find(key))
      return makeError("expected the field " + key + " of " + name +
                       " once, but got it twice");
    scheme.fields.emplace_back(key.str(), value.str());
  }
  return scheme;
}

llvm::Error SchemeText::set(StringRef option, StringRef value) {
  std::string name = option.str();
  std::replace(name.begin(), name.end(), '_', '-');
  if (isNone())
    return makeError("expected a scheme for the option " + name +
                     ", but there is none");
  const SchemeFamily *family = findFamily(getFamily());
  const auto *known = llvm::find_if(
      family->options, [&](const SchemeOption &o) { return o.option == name; });
  if (known == family->options.end()) {
    std::string names;
    for (const SchemeOption &other : family->options)
      names += (names.empty() ? "" : ", ") + other.option.str();
    return makeError("expected an option of the scheme " + getFamily() + " (" +
                     names + "), but got " + name);
  }
  std::string field;
  int64_t integer = 0;
  switch (known->kind) {
  case SchemeOption::Integer:
    if (value.getAsInteger(10, integer))
      return makeError("expected " + name + " to be an integer, but got `" +
                       value + "`");
    field = std::to_string(integer);
    break;
  case SchemeOption::Fraction: {
    double fraction = 0;
    if (value.getAsDouble(fraction) || !(fraction >= 0 && fraction <= 0.5))
      return makeError("expected " + name +
                       " to be a share between 0 and 0.5, but got `" + value +
                       "`");
    integer = std::lround(fraction * 10000);
    if (std::fabs(fraction * 10000 - static_cast<double>(integer)) > 1e-6)
      return makeError("expected " + name +
                       " to have at most four decimals, but got `" + value +
                       "`");
    field = std::to_string(integer);
    break;
  }
  case SchemeOption::Word:
    if (value.empty() ||
        !llvm::all_of(value, [](char c) { return llvm::isAlnum(c); }))
      return makeError("expected " + name + " to be a name, but got `" + value +
                       "`");
    field = value.str();
    break;
  }
  for (auto &[key, old] : fields)
    if (key == known->field) {
      old = field;
      return llvm::Error::success();
    }
  fields.emplace_back(known->field.str(), field);
  return llvm::Error::success();
}

llvm::Expected<SchemeAttrInterface>
SchemeText::get(MLIRContext *context) const {
  if (isNone())
    return makeError("expected a scheme, but got none");
  SchemeText whole = *this;
  if (!isAttribute()) {
    if (!whole.find("bits"))
      whole.fields.emplace_back("bits", "4");
    // The grid that represents normal weights best at each width.
    int64_t bits = 0;
    if (family == "pot" &&
        !StringRef(*whole.find("bits")).getAsInteger(10, bits)) {
      if (!whole.find("grid") && !whole.find("mantissa"))
        whole.fields.emplace_back("grid", bits <= 2   ? "stride2"
                                          : bits == 3 ? "pot"
                                                      : "half");
      const std::string *grid = whole.find("grid");
      if (grid && bits > 3 && (*grid == "half" || *grid == "third") &&
          !whole.find("mantissa"))
        whole.fields.emplace_back("mantissa", std::to_string(bits - 3));
    }
  }
  std::string text = "#ganq." + family + "<";
  for (const auto &[index, field] : llvm::enumerate(whole.fields))
    text += (index ? ", " : "") + field.first + " = " + field.second;
  text += ">";

  std::string message;
  ScopedDiagnosticHandler collect(context, [&](Diagnostic &diagnostic) {
    if (message.empty())
      message = diagnostic.str();
    return success();
  });
  context->getOrLoadDialect<GanqDialect>();
  auto scheme =
      dyn_cast_or_null<SchemeAttrInterface>(parseAttribute(text, context));
  // The parser does not say which types there may be.
  const std::string *entry = whole.find("entry");
  if (!scheme && entry && !parseType(*entry, context))
    message = "expected entry to be f16, bf16, i8 or f8E4M3FN, but got `" +
              *entry + "`";
  if (!scheme)
    return makeError(StringRef(text).drop_front(6) + ": " +
                     (message.empty() ? "not a scheme" : message));
  return scheme;
}

std::string ganq::getSchemeText(SchemeAttrInterface scheme) {
  std::string text;
  llvm::raw_string_ostream os(text);
  Attribute(scheme).print(os);
  return StringRef(text).starts_with("#ganq.") ? text.substr(6) : text;
}
