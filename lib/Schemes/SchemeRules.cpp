//===- SchemeRules.cpp - Which weight gets which scheme -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/SchemeRules.h"
#include "ganq/Support/Errors.h"
#include "ganq/Support/Files.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/YAMLParser.h"

using namespace mlir;
using namespace ganq;
namespace yaml = llvm::yaml;

namespace {

class Reader {
public:
  Reader(MLIRContext *context, StringRef path, StringRef text,
         const SchemeText &usual)
      : context(context), path(path), usual(usual), stream(text, sources) {
    sources.setDiagHandler(
        [](const llvm::SMDiagnostic &diagnostic, void *reader) {
          auto *self = static_cast<Reader *>(reader);
          if (self->syntaxError.empty())
            self->syntaxError =
                (self->path + ":" + llvm::Twine(diagnostic.getLineNo()) + ": " +
                 diagnostic.getMessage())
                    .str();
        },
        this);
  }

  llvm::Error read(std::vector<SchemeRule> &rules);

private:
  llvm::Error readRule(yaml::Node *node, std::vector<SchemeRule> &rules);
  /// The text of a scalar.
  llvm::Expected<std::string> readScalar(yaml::Node *node, StringRef what);

  /// Fails for escapes that the parser would drop or replace.
  llvm::Error checkEscapes(StringRef raw);

  std::string where(llvm::SMLoc place) {
    return (path + ":" + llvm::Twine(sources.getLineAndColumn(place).first))
        .str();
  }
  std::string where(yaml::Node *node) {
    return node ? where(node->getSourceRange().Start) : (path + ":1").str();
  }
  llvm::Error fail(yaml::Node *node, const llvm::Twine &message) {
    if (!syntaxError.empty())
      return makeError(syntaxError);
    return makeError(where(node) + ": " + message);
  }

  MLIRContext *context;
  StringRef path;
  const SchemeText &usual;
  llvm::SourceMgr sources;
  std::string syntaxError;
  yaml::Stream stream;
};

} // namespace

llvm::Error Reader::checkEscapes(StringRef raw) {
  for (size_t at = raw.find('\\'); at != StringRef::npos;
       at = raw.find('\\', at + 2)) {
    char code = at + 1 < raw.size() ? raw[at + 1] : '\0';
    size_t count = code == 'x' ? 2 : code == 'u' ? 4 : code == 'U' ? 8 : 0;
    StringRef digits = raw.substr(at + 2, count);
    uint32_t point = 0;
    bool valid = StringRef("0abt\tnvfre \"/\\N_LPxuU\r\n").contains(code);
    if (valid && count > 0)
      valid = digits.size() == count &&
              llvm::all_of(digits, llvm::isHexDigit) &&
              !digits.getAsInteger(16, point) && point <= 0x10FFFF &&
              (point < 0xD800 || point > 0xDFFF);
    if (!valid)
      return makeError(
          where(llvm::SMLoc::getFromPointer(raw.data() + at)) +
          ": expected an escape of YAML in double quotes, but got `" +
          raw.substr(at, 2 + count) +
          "`; a backslash is written twice there, once in single quotes");
  }
  return llvm::Error::success();
}

llvm::Expected<std::string> Reader::readScalar(yaml::Node *node,
                                               StringRef what) {
  if (auto *block = dyn_cast_or_null<yaml::BlockScalarNode>(node))
    return block->getValue().trim().str();
  auto *scalar = dyn_cast_or_null<yaml::ScalarNode>(node);
  if (!scalar)
    return fail(node, "expected a value for " + what);
  if (StringRef raw = scalar->getRawValue(); raw.starts_with('"'))
    if (llvm::Error error = checkEscapes(raw.drop_back()))
      return std::move(error);
  SmallString<64> storage;
  return scalar->getValue(storage).str();
}

llvm::Error Reader::readRule(yaml::Node *node, std::vector<SchemeRule> &rules) {
  auto *mapping = dyn_cast_or_null<yaml::MappingNode>(node);
  if (!mapping)
    return fail(node, "expected a rule such as `{match: q_proj, bits: 4}`");
  std::string place = where(node), schemeName, solver;
  std::optional<std::string> match;
  std::optional<bool> keep;
  std::vector<std::pair<std::string, std::pair<std::string, std::string>>>
      options;
  std::string schemePlace;
  llvm::StringSet<> seen;
  for (yaml::KeyValueNode &entry : *mapping) {
    yaml::Node *keyNode = entry.getKey();
    auto key = readScalar(keyNode, "the name of a field");
    if (!key)
      return key.takeError();
    std::string name = *key;
    std::replace(name.begin(), name.end(), '_', '-');
    if (name == "rows")
      name = "table-rows";
    else if (name == "activation")
      name = "activation-bits";
    bool isOption = llvm::is_contained(getSchemeOptions(), StringRef(name));
    if (!isOption && name != "match" && name != "scheme" && name != "solver" &&
        name != "keep")
      return fail(keyNode, "expected match, scheme, solver, keep or an option "
                           "of schemes, but got `" +
                               *key + "`");
    if (!seen.insert(name).second)
      return fail(keyNode, "expected `" + *key + "` once, but got it twice");
    std::string linePlace = where(keyNode);
    auto value = readScalar(entry.getValue(), "`" + *key + "`");
    if (!value)
      return value.takeError();
    if (name == "match") {
      match = *value;
    } else if (name == "scheme") {
      schemeName = *value;
      schemePlace = linePlace;
    } else if (name == "solver") {
      solver = *value;
    } else if (name == "keep") {
      if (*value != "true" && *value != "false")
        return makeError(linePlace +
                         ": expected `keep` to be true or false, but got `" +
                         *value + "`");
      keep = *value == "true";
    } else {
      options.push_back({linePlace, {name, *value}});
    }
  }
  if (stream.failed() || !syntaxError.empty())
    return fail(node, "the file is no YAML");
  if (!match || match->empty())
    return makeError(place + ": expected `match`, a regular expression on the "
                             "names of weights, in each rule");

  SchemeRule rule{*match, llvm::Regex(*match), {}, solver, place};
  std::string reason;
  if (!rule.regex.isValid(reason))
    return makeError(
        place + ": expected `match` to be a regular expression, but got `" +
        *match + "`: " + reason);
  bool keeps = keep.value_or(false) || schemeName == "none";
  if (keeps && (!options.empty() || !solver.empty() ||
                (keep.value_or(false) && !schemeName.empty())))
    return makeError(place + ": expected a rule that keeps weights to say "
                             "nothing about a scheme");
  if (!keeps) {
    SchemeText text = usual;
    if (!schemeName.empty()) {
      auto parsed = SchemeText::parse(schemeName);
      if (!parsed)
        return makeError(schemePlace + ": " +
                         llvm::toString(parsed.takeError()));
      text = *parsed;
      if (text.isAttribute() && !options.empty())
        return makeError(options.front().first +
                         ": expected no option beside "
                         "the text of an attribute, "
                         "but got " +
                         options.front().second.first);
    }
    if (text.isNone())
      return makeError(place + ": expected `scheme` or `keep: true` in a rule, "
                               "as the usual scheme is none");
    for (const auto &[line, option] : options)
      if (llvm::Error error = text.set(option.first, option.second))
        return makeError(line + ": " + llvm::toString(std::move(error)));
    auto scheme = text.get(context);
    if (!scheme)
      return makeError((schemePlace.empty() ? place : schemePlace) + ": " +
                       llvm::toString(scheme.takeError()));
    rule.scheme = *scheme;
  }
  rules.push_back(std::move(rule));
  return llvm::Error::success();
}

llvm::Error Reader::read(std::vector<SchemeRule> &rules) {
  auto document = stream.begin();
  yaml::Node *root = document == stream.end() ? nullptr : document->getRoot();
  auto *list = dyn_cast_or_null<yaml::SequenceNode>(root);
  if (!list)
    return fail(root, "expected a list of rules such as `- {match: q_proj, "
                      "bits: 4}`");
  for (yaml::Node &node : *list)
    if (llvm::Error error = readRule(&node, rules))
      return error;
  if (stream.failed() || !syntaxError.empty())
    return fail(root, "the file is no YAML");
  if (rules.empty())
    return fail(root, "expected at least one rule");
  if (++document != stream.end()) {
    yaml::Node *second = document->getRoot();
    return fail(second, "expected one YAML document, but got a second one");
  }
  return llvm::Error::success();
}

llvm::Expected<SchemeRules> SchemeRules::read(MLIRContext *context,
                                              StringRef path,
                                              const SchemeText &usual) {
  if (StringRef special = describeSpecialFile(path); !special.empty())
    return makeError("expected the rules '" + path +
                     "' to be a regular file, but got " + special);
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return makeError("cannot read the rules '" + path +
                     "': " + buffer.getError().message());
  SchemeRules result;
  Reader reader(context, path, (*buffer)->getBuffer(), usual);
  if (llvm::Error error = reader.read(result.rules))
    return std::move(error);
  return result;
}

const SchemeRule *SchemeRules::find(StringRef key) {
  const SchemeRule *found = nullptr;
  for (SchemeRule &rule : rules) {
    if (!rule.regex.match(key))
      continue;
    ++rule.matches;
    if (!found) {
      ++rule.uses;
      found = &rule;
    }
  }
  return found;
}

llvm::Error SchemeRules::checkUsed() const {
  for (const SchemeRule &rule : rules) {
    if (rule.matches == 0)
      return makeError(rule.where + ": expected `" + rule.match +
                       "` to match at least one weight that may be quantized, "
                       "but it matches none");
    if (rule.uses == 0)
      return makeError(rule.where + ": expected `" + rule.match +
                       "` to match a weight that the rules before leave, but "
                       "they decide on all that it matches");
  }
  return llvm::Error::success();
}
