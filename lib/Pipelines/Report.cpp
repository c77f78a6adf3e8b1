//===- Report.cpp - What quantization did to a model ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Report.h"
#include "Errors.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/NativeFormatting.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include <cmath>

using namespace ganq;
using llvm::formatv;
using llvm::StringRef;
namespace fs = llvm::sys::fs;
namespace json = llvm::json;

llvm::Error ganq::checkReportPath(StringRef path) {
  StringRef extension = llvm::sys::path::extension(path);
  if (extension != ".html" && extension != ".json")
    return makeError(
        "expected --report to be a .html or .json file, but got '" + path +
        "'");
  StringRef folder = llvm::sys::path::parent_path(path);
  if (!folder.empty() && !fs::is_directory(folder))
    return makeError("expected the folder '" + folder +
                     "' of the report to exist");
  if (fs::is_directory(path))
    return makeError("expected the report to be a file, but '" + path +
                     "' is a folder");
  // The report replaces what is there; writeReport() writes here first.
  fs::file_type type = fs::get_file_type(path, /*Follow=*/false);
  if (type != fs::file_type::regular_file &&
      type != fs::file_type::status_error &&
      type != fs::file_type::file_not_found)
    return makeError("expected the report to be a regular file, but '" + path +
                     "' is a link or a device");
  std::string temporary = (path + ".tmp").str();
  int descriptor = -1;
  if (std::error_code code = fs::openFileForWrite(temporary, descriptor))
    return makeError("cannot write the report '" + path +
                     "': " + code.message());
  llvm::sys::Process::SafelyCloseFileDescriptor(descriptor);
  fs::remove(temporary);
  return llvm::Error::success();
}

json::Object ganq::describeRow(llvm::ArrayRef<float> values,
                               llvm::ArrayRef<float> decoded) {
  constexpr size_t kBins = 48, kMaxLevels = 256;
  std::vector<float> levels(decoded.begin(), decoded.end());
  llvm::sort(levels);
  levels.erase(llvm::unique(levels), levels.end());
  double low = levels.front(), high = levels.back();
  for (float value : values) {
    low = std::min<double>(low, value);
    high = std::max<double>(high, value);
  }
  if (!(high > low))
    high = low + std::max(std::fabs(low), 1.0) * 1e-3;
  std::vector<int64_t> counts(kBins, 0);
  for (float value : values)
    ++counts[std::min<size_t>(
        kBins - 1, static_cast<size_t>((value - low) / (high - low) * kBins))];
  json::Array jsonLevels;
  // Rows with a scale per group have more levels than a plot can show.
  size_t step = llvm::divideCeil(levels.size(), kMaxLevels);
  for (size_t i = 0; i < levels.size(); i += step)
    jsonLevels.push_back(levels[i]);
  return json::Object{{"low", low},
                      {"high", high},
                      {"counts", json::Array(counts)},
                      {"levels", std::move(jsonLevels)}};
}

//===----------------------------------------------------------------------===//
// The page
//===----------------------------------------------------------------------===//

static std::string escape(StringRef text) {
  std::string result;
  llvm::raw_string_ostream os(result);
  llvm::printHTMLEscaped(text, os);
  return result;
}

static const char *const kStyle = R"(
:root { color-scheme: light dark; --paper: #fcfcfb; --ink: #1c2126;
  --quiet: #5d6670; --line: #d8dce0; --main: #2b6cb0; --other: #c2571a;
  --soft: #a9c4de; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e6e8ea;
  --quiet: #9aa4ae; --line: #363c42; --main: #6fb0ea; --other: #f0955c;
  --soft: #3d5a76; } }
body { background: var(--paper); color: var(--ink); max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p, figcaption { color: var(--quiet); } figure { margin: 0; }
.facts { display: flex; flex-wrap: wrap; gap: 2rem; }
.facts div { min-width: 8rem; } .facts b { display: block; font-size: 1.4rem;
  font-weight: 600; }
.row { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
.row figure { max-width: 34rem; }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--quiet); }
.axis { stroke: var(--line); } .bar { fill: var(--main); }
.soft { fill: var(--soft); } .level { stroke: var(--other); }
.dot { fill: var(--main); } .dot.chosen { fill: var(--other); }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
td.note { white-space: normal; color: var(--quiet); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
)";

namespace {

/// A number with as many digits as say something.
std::string number(double value) {
  double size = std::fabs(value);
  if (size >= 1000)
    return formatv("{0:F0}", value);
  if (size >= 100)
    return formatv("{0:F1}", value);
  if (size >= 1)
    return formatv("{0:F2}", value);
  if (size >= 0.001 || size == 0)
    return formatv("{0:F4}", value);
  return formatv("{0:E1}", value);
}

/// The step between ticks: 1, 2 or 5 times a power of ten.
double tickStep(double range, int ticks) {
  double raw = range / ticks;
  double power = std::pow(10, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power)
      return factor * power;
  return 10 * power;
}

/// A tick's label, with the digits that tell ticks apart.
std::string tickLabel(double tick, double step) {
  int digits = std::max(0, static_cast<int>(-std::floor(std::log10(step))));
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::write_double(os, std::fabs(tick) < step / 2 ? 0 : tick,
                     llvm::FloatStyle::Fixed, digits);
  return text;
}

/// A plot with linear axes.
class Plot {
public:
  Plot(int width, int height, double lowX, double highX, double lowY,
       double highY, StringRef title, int bottom = 34)
      : width(width), height(height), bottom(bottom), lowX(lowX), highX(highX),
        lowY(lowY), highY(highY) {
    os << formatv("<svg viewBox=\"0 0 {0} {1}\" role=\"img\" "
                  "aria-label=\"{2}\">",
                  width, height, escape(title));
  }

  double x(double value) const {
    return kLeft + (value - lowX) / (highX - lowX) * (width - kLeft - kRight);
  }
  double y(double value) const {
    return height - bottom -
           (value - lowY) / (highY - lowY) * (height - kTop - bottom);
  }

  void axisY(StringRef label) {
    double step = tickStep(highY - lowY, 4);
    for (double tick = std::ceil(lowY / step) * step; tick <= highY * 1.0001;
         tick += step) {
      os << formatv("<line class=\"axis\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:F1}\" "
                    "y2=\"{2:F1}\"/>",
                    kLeft, width - kRight, y(tick));
      text(kLeft - 5, y(tick) + 4, "end", tickLabel(tick, step));
    }
    text(0, 10, "start", label);
  }
  void axisX(StringRef label, int ticks = 5) {
    double step = tickStep(highX - lowX, ticks);
    for (double tick = std::ceil(lowX / step) * step; tick <= highX;
         tick += step)
      text(x(tick), height - bottom + 14, "middle", tickLabel(tick, step));
    text(width - kRight, height - 2, "end", label);
  }
  void bar(double left, double right, double value, StringRef style,
           StringRef title) {
    os << formatv("<rect class=\"{0}\" x=\"{1:F2}\" y=\"{2:F2}\" "
                  "width=\"{3:F2}\" height=\"{4:F2}\">",
                  style, x(left), y(value), x(right) - x(left),
                  y(lowY) - y(value));
    if (!title.empty())
      os << "<title>" << escape(title) << "</title>";
    os << "</rect>";
  }
  void level(double value) {
    os << formatv("<line class=\"level\" x1=\"{0:F2}\" x2=\"{0:F2}\" "
                  "y1=\"{1}\" y2=\"{2}\"/>",
                  x(value), kTop, height - bottom);
  }
  void dot(double atX, double atY, StringRef label, bool chosen) {
    os << formatv("<circle class=\"dot{0}\" cx=\"{1:F1}\" cy=\"{2:F1}\" "
                  "r=\"4.5\"/>",
                  chosen ? " chosen" : "", x(atX), y(atY));
    bool right = x(atX) > width * 0.7;
    text(x(atX) + (right ? -8 : 8), y(atY) + (right ? -16 : -6),
         right ? "end" : "start", label);
  }
  void text(double atX, double atY, StringRef anchor, StringRef content,
            int rotation = 0) {
    os << formatv("<text x=\"{0:F1}\" y=\"{1:F1}\" text-anchor=\"{2}\"", atX,
                  atY, anchor);
    if (rotation)
      os << formatv(" transform=\"rotate({0} {1:F1} {2:F1})\"", rotation, atX,
                    atY);
    os << ">" << escape(content) << "</text>";
  }
  std::string finish() {
    os << "</svg>\n";
    return std::move(content);
  }

  static constexpr int kLeft = 52, kRight = 10, kTop = 20;

private:
  std::string content;
  llvm::raw_string_ostream os{content};
  int width, height, bottom;
  double lowX, highX, lowY, highY;
};

/// A label and where it stands.
struct Point {
  double x, y;
  std::string label;
  bool chosen;
};

} // namespace

/// The part of a weight's name that tells it from the others.
static std::string shortName(StringRef name) {
  name.consume_back(".weight");
  llvm::SmallVector<StringRef> parts;
  name.split(parts, '.');
  if (parts.size() <= 3)
    return name.str();
  std::string result;
  for (StringRef part : parts)
    if (part != "model" && part != "layers" && part != "self_attn" &&
        part != "mlp" && part != "h" && part != "transformer")
      result += (result.empty() ? "" : ".") + part.str();
  return result;
}

static std::string errorPlot(const json::Array &weights) {
  double most = 0;
  for (const json::Value &value : weights)
    most = std::max(
        most, value.getAsObject()->getNumber("relative_error").value_or(0));
  auto count = static_cast<double>(weights.size());
  bool labels = weights.size() <= 80;
  Plot plot(1000, labels ? 310 : 260, 0, count, 0, most > 0 ? most * 1.05 : 1,
            "relative error by layer", labels ? 85 : 20);
  plot.axisY("relative error of the layer's output");
  for (auto [index, value] : llvm::enumerate(weights)) {
    const json::Object &weight = *value.getAsObject();
    double error = weight.getNumber("relative_error").value_or(0);
    StringRef name = weight.getString("name").value_or("");
    StringRef scheme = weight.getString("scheme").value_or("");
    auto at = static_cast<double>(index);
    plot.bar(at + 0.12, at + 0.88, error, "bar",
             formatv("{0}: {1}, {2}", name, scheme, number(error)).str());
    if (labels)
      plot.text(plot.x(at + 0.62), plot.y(0) + 8, "end", shortName(name), -60);
  }
  return plot.finish();
}

static std::string rowPlot(const json::Object &row) {
  const json::Array *counts = row.getArray("counts");
  const json::Array *levels = row.getArray("levels");
  double low = row.getNumber("low").value_or(0);
  double high = row.getNumber("high").value_or(1);
  double most = 1;
  for (const json::Value &count : *counts)
    most = std::max(most, count.getAsNumber().value_or(0));
  Plot plot(420, 220, low, high, 0, most * 1.05, "histogram of a row");
  plot.axisY("weights");
  plot.axisX("value", 4);
  double step = (high - low) / static_cast<double>(counts->size());
  for (auto [index, count] : llvm::enumerate(*counts))
    plot.bar(low + static_cast<double>(index) * step,
             low + static_cast<double>(index + 1) * step,
             count.getAsNumber().value_or(0), "soft", "");
  for (const json::Value &level : *levels)
    plot.level(level.getAsNumber().value_or(0));
  return plot.finish();
}

static std::string pointPlot(llvm::ArrayRef<Point> points, StringRef label) {
  double right = 0, low = INFINITY, high = -INFINITY;
  for (const Point &point : points) {
    right = std::max(right, point.x);
    low = std::min(low, point.y);
    high = std::max(high, point.y);
  }
  double margin =
      high > low ? (high - low) * 0.15 : std::fabs(high) * 0.1 + 1e-9;
  Plot plot(480, 280, 0, right * 1.08, std::max(0.0, low - margin),
            high + margin, label);
  plot.axisY(label);
  plot.axisX("bits per weight");
  for (const Point &point : points)
    plot.dot(point.x, point.y, point.label, point.chosen);
  return plot.finish();
}

/// The damage of each candidate for all weights alike, and of the choice.
static std::string budgetPlot(const json::Object &budget,
                              const json::Array &weights) {
  double elements = 0;
  for (const json::Value &value : weights)
    if (const json::Array *shape = value.getAsObject()->getArray("shape"))
      elements += (*shape)[0].getAsNumber().value_or(0) *
                  (*shape)[1].getAsNumber().value_or(0);
  std::vector<Point> points;
  for (const json::Value &value : *budget.getArray("weights")) {
    const json::Array *list = value.getAsObject()->getArray("candidates");
    points.resize(std::max(points.size(), list->size()),
                  Point{0, 0, "", false});
    for (auto [point, entry] : llvm::zip(points, *list)) {
      const json::Object &candidate = *entry.getAsObject();
      point.x += 8 * candidate.getNumber("bytes").value_or(0) / elements;
      point.y += candidate.getNumber("divergence").value_or(0);
      if (point.label.empty())
        point.label = candidate.getString("scheme").value_or("").str();
    }
  }
  points.push_back({budget.getNumber("bits_per_weight").value_or(0),
                    budget.getNumber("predicted_divergence").value_or(0),
                    "chosen", true});
  return pointPlot(points, "predicted divergence in nats per token");
}

static std::string table(const json::Array &weights) {
  std::string result;
  llvm::raw_string_ostream os(result);
  os << "<div class=\"table\"><table><thead><tr><th>weight<th>scheme"
        "<th class=\"number\">shape<th class=\"number\">bits per weight"
        "<th class=\"number\">bytes<th class=\"number\">relative error"
        "<th class=\"number\">Gram condition"
        "<th class=\"number\">seconds<th>notes"
        "</tr></thead><tbody>\n";
  for (const json::Value &value : weights) {
    const json::Object &weight = *value.getAsObject();
    auto cell = [&](StringRef key) -> std::string {
      auto found = weight.getNumber(key);
      return found ? number(*found) : "";
    };
    double n = 0, k = 0;
    if (const json::Array *shape = weight.getArray("shape")) {
      n = (*shape)[0].getAsNumber().value_or(0);
      k = (*shape)[1].getAsNumber().value_or(0);
    }
    double bytes = weight.getNumber("bytes").value_or(0);
    os << formatv("<tr><td>{0}<td>{1}<td class=\"number\">{2}×{3}"
                  "<td class=\"number\">{4:F2}<td class=\"number\">{5}"
                  "<td class=\"number\">{6}<td class=\"number\">{7}"
                  "<td class=\"number\">{8}<td class=\"note\">{9}</tr>\n",
                  escape(weight.getString("name").value_or("")),
                  escape(weight.getString("scheme").value_or("")),
                  static_cast<int64_t>(n), static_cast<int64_t>(k),
                  n * k > 0 ? 8 * bytes / (n * k) : 0,
                  static_cast<int64_t>(bytes), cell("relative_error"),
                  cell("gram_condition"), cell("seconds"),
                  escape(weight.getString("note").value_or("")));
  }
  os << "</tbody></table></div>\n";
  return result;
}

static std::string page(const json::Object &summary) {
  std::string result;
  llvm::raw_string_ostream os(result);
  const json::Array none;
  const json::Array *weights = summary.getArray("weights");
  if (!weights)
    weights = &none;
  StringRef model =
      llvm::sys::path::filename(summary.getString("model").value_or(""));
  double bits = summary.getNumber("bits_per_weight").value_or(0);
  double bytes = 0;
  for (const json::Value &weight : *weights)
    bytes += weight.getAsObject()->getNumber("bytes").value_or(0);
  auto fact = [&](const std::string &value, StringRef label) {
    os << "<div><b>" << escape(value) << "</b>" << label << "</div>\n";
  };
  os << "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>"
     << escape(model) << ", quantized</title>\n<style>" << kStyle
     << "</style></head><body>\n<h1>" << escape(model)
     << "</h1>\n<div class=\"facts\">\n";
  fact(std::to_string(weights->size()), "quantized weights");
  fact(number(bits), "bits per weight");
  if (bytes > 0)
    fact(bytes < 1e6 ? formatv("{0:F1} kB", bytes / 1e3).str()
                     : formatv("{0:F1} MB", bytes / 1e6).str(),
         "in quantized weights");
  const json::Object *evaluation = summary.getObject("evaluation");
  if (evaluation) {
    if (auto before = evaluation->getNumber("reference_perplexity"))
      fact(formatv("{0:F3}", *before), "perplexity before");
    fact(formatv("{0:F3}", evaluation->getNumber("perplexity").value_or(0)),
         weights->empty() ? "perplexity" : "perplexity after");
  }
  os << "</div>\n";
  if (!weights->empty())
    os << "<h2>Error by layer</h2>\n<figure>" << errorPlot(*weights)
       << "<figcaption>‖(W − Wq) X‖ / ‖W X‖ over the calibration inputs X; "
          "without calibration, X is the identity.</figcaption></figure>\n";
  if (const json::Array *rows = summary.getArray("rows")) {
    os << "<h2>Weights and the values that stand for them</h2>\n<div "
          "class=\"row\">\n";
    for (const json::Value &value : *rows) {
      const json::Object &row = *value.getAsObject();
      os << "<figure>" << rowPlot(row)
         << formatv("<figcaption>{0} layer by error: {1}, {2}, row {3}"
                    "</figcaption></figure>\n",
                    row.getString("rank").value_or(""),
                    escape(row.getString("name").value_or("")),
                    escape(row.getString("scheme").value_or("")),
                    row.getInteger("row").value_or(0));
    }
    os << "</div>\n";
  }
  const json::Object *budget = summary.getObject("budget");
  if (budget || (evaluation && evaluation->getNumber("reference_perplexity"))) {
    os << "<h2>Size</h2>\n<div class=\"row\">\n";
    if (evaluation && evaluation->getNumber("reference_perplexity")) {
      Point before{evaluation->getNumber("reference_bits").value_or(32),
                   evaluation->getNumber("reference_perplexity").value_or(0),
                   "as given", false};
      Point after{bits, evaluation->getNumber("perplexity").value_or(0),
                  "quantized", true};
      os << "<figure>" << pointPlot({before, after}, "perplexity")
         << formatv("<figcaption>Perplexity on {0} tokens.</figcaption>"
                    "</figure>\n",
                    evaluation->getInteger("tokens").value_or(0));
    }
    if (budget)
      os << "<figure>" << budgetPlot(*budget, *weights)
         << "<figcaption>The choice within the budget, and each candidate for "
            "all weights alike.</figcaption></figure>\n";
    os << "</div>\n";
  }
  if (!weights->empty())
    os << "<h2>Weights</h2>\n" << table(*weights);
  os << "</body></html>\n";
  return result;
}

llvm::Error ganq::writeReport(StringRef path, const json::Object &summary) {
  std::string text =
      path.ends_with(".html")
          ? page(summary)
          : formatv("{0:2}\n", json::Value(json::Object(summary))).str();
  std::string temporary = (path + ".tmp").str();
  std::error_code code;
  {
    llvm::raw_fd_ostream os(temporary, code);
    if (!code) {
      os << text;
      os.close();
      code = os.error();
      os.clear_error();
    }
  }
  if (!code)
    code = fs::rename(temporary, path);
  if (code) {
    fs::remove(temporary);
    return makeError("cannot write the report '" + path +
                     "': " + code.message());
  }
  return llvm::Error::success();
}
