//===- Solve.cpp - Finds and packs codes and tables -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../GridPacker.h"
#include "ganq/Quantization/Lut.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>
#include <numeric>

using namespace mlir;
using namespace ganq;
using ganq::quant::Damping;
using ganq::quant::LutEntry;
using ganq::quant::LutMethod;
using ganq::quant::LutOptions;
using ganq::quant::LutRows;
using ganq::quant::LutSolver;
using ganq::quant::RowReport;
using ganq::quant::Status;

/// Damping out of the ordinary, and tables that are larger than the codes.
static std::string describe(LutAttr scheme, int64_t n, int64_t k,
                            const Damping &damping) {
  SmallVector<std::string> notes = describeDamping(damping);
  SmallVector<SchemeComponent> components = scheme.getComponents(n, k);
  auto bitsPerWeight = [&](int component) {
    RankedTensorType type = components[component].type;
    return static_cast<double>(type.getNumElements() *
                               type.getElementTypeBitWidth()) /
           static_cast<double>(n * k);
  };
  double codes = bitsPerWeight(0), tables = bitsPerWeight(1);
  if (tables > codes)
    notes.push_back(llvm::formatv("tables take {0:F1} bits per weight, codes "
                                  "{1:F1}: larger groups, tables shared by "
                                  "rows or fewer bits store less",
                                  tables, codes)
                        .str());
  return llvm::join(notes, "; ");
}

static LutEntry getEntry(LutAttr scheme) {
  Type type = scheme.getEntry();
  if (type.isBF16())
    return LutEntry::BFloat16;
  if (type.isInteger(8))
    return LutEntry::Int8;
  return isa<Float8E4M3FNType>(type) ? LutEntry::Float8 : LutEntry::Float16;
}

namespace {

/// Where a scheme's components are, and access to their elements.
struct Storage {
  LutAttr scheme;
  int64_t n, k;
  int64_t group, groups;
  CodeLayout layout;

  Storage(LutAttr scheme, int64_t n, int64_t k)
      : scheme(scheme), n(n), k(k),
        group(scheme.getGroup() ? scheme.getGroup() : k),
        groups(llvm::divideCeil(k, group)), layout(scheme.getBits(), n, k) {}

  int64_t tableRow(int64_t row) const { return row / scheme.getRows(); }
  int64_t entriesPerTable() const { return groups << scheme.getBits(); }
  int scaleIndex() const { return 2; }
  int sumIndex() const { return 3; }
  int sparseIndex() const { return scheme.hasScale() ? 3 : 2; }

  /// The sum of the entries that a row selects.
  int32_t sumEntries(const std::vector<std::vector<char>> &components,
                     int64_t row) const {
    const auto *codes = reinterpret_cast<const uint8_t *>(components[0].data());
    const char *table =
        components[1].data() + tableRow(row) * entriesPerTable();
    int32_t sum = 0;
    for (int64_t column = 0; column < k; ++column)
      sum += static_cast<int8_t>(table[((column / group) << scheme.getBits()) +
                                       layout.extract(codes, row, column)]);
    return sum;
  }

  /// The values of a row that its codes and tables stand for.
  template <typename Bytes>
  void decodeRow(const std::vector<Bytes> &components, int64_t row,
                 float *out) const {
    auto *codes = reinterpret_cast<const uint8_t *>(components[0].data());
    SmallVector<float> table(entriesPerTable());
    float scale =
        scheme.hasScale() ? loadHalf(components[scaleIndex()], row) : 1;
    for (auto [index, value] : llvm::enumerate(table))
      value = scale * loadFloat(components[1], scheme.getEntry(),
                                tableRow(row) * entriesPerTable() + index);
    for (int64_t column = 0; column < k; ++column)
      out[column] = table[((column / group) << scheme.getBits()) +
                          layout.extract(codes, row, column)];
  }
};

/// The part of a weight that is added to what the tables stand for.
class SparsePart {
public:
  SparsePart(const Storage &storage)
      : storage(storage), perRow(storage.scheme.getOutliersPerRow(storage.k)),
        columns(storage.n * perRow), values(storage.n * perRow) {}

  int64_t getPerRow() const { return perRow; }

  /// Takes the kept values of solved rows.
  void add(const LutRows &rows) {
    std::copy_n(rows.keptColumns, rows.count * perRow,
                columns.begin() + rows.first * perRow);
    std::copy_n(rows.keptValues, rows.count * perRow,
                values.begin() + rows.first * perRow);
  }

  /// The rows of the greatest output error, which are kept whole and have none
  /// afterwards.
  std::vector<bool> chooseRows(MutableArrayRef<RowReport> rows) const {
    std::vector<int64_t> order(storage.n);
    std::iota(order.begin(), order.end(), 0);
    llvm::sort(order, [&](int64_t a, int64_t b) {
      return std::pair(-rows[a].outputError, a) <
             std::pair(-rows[b].outputError, b);
    });
    std::vector<bool> whole(storage.n);
    for (int64_t row :
         ArrayRef(order).take_front(storage.scheme.getFullRows())) {
      whole[row] = true;
      rows[row].outputError = 0;
    }
    return whole;
  }

  /// Packs the sparse part once all codes and tables are. `readTarget` gives a
  /// row of the target.
  llvm::Error
  pack(const std::vector<bool> &whole,
       llvm::function_ref<llvm::Error(int64_t row, float *out)> readTarget,
       std::vector<std::vector<char>> &components) const {
    int64_t n = storage.n, k = storage.k;
    std::vector<float> row(k), dense(k);
    std::vector<int32_t> all(k);
    std::iota(all.begin(), all.end(), 0);
    int32_t position = 0;
    for (int64_t i = 0; i < n; ++i) {
      storeStart(components, i, position);
      ArrayRef<int32_t> at(columns.data() + i * perRow, perRow);
      ArrayRef<float> kept(values.data() + i * perRow, perRow);
      if (whole[i]) {
        if (llvm::Error error = readTarget(i, row.data()))
          return error;
        clearDense(components, i);
        at = all;
        kept = row;
      }
      storage.decodeRow(components, i, dense.data());
      for (auto [column, value] : llvm::zip_equal(at, kept)) {
        float difference = value - dense[column];
        if (!(std::fabs(difference) < 65520))
          return makeError(llvm::formatv(
              "expected kept values in fp16's range (below 65520), but got {0} "
              "in row {1}, column {2}; scale the weight down",
              value, i, column));
        storeColumn(components, position, column);
        storeHalf(components[storage.sparseIndex() + 2], position, difference);
        ++position;
      }
    }
    storeStart(components, n, position);
    return llvm::Error::success();
  }

  /// Adds the sparse part to decoded rows.
  static void decode(const Storage &storage,
                     ArrayRef<ArrayRef<char>> components, float *out) {
    ArrayRef<char> starts = components[storage.sparseIndex()];
    ArrayRef<char> columns = components[storage.sparseIndex() + 1];
    ArrayRef<char> values = components[storage.sparseIndex() + 2];
    auto load = [](ArrayRef<char> bytes, int64_t index, size_t size) {
      uint32_t value = 0;
      std::memcpy(&value, bytes.data() + index * size, size);
      return value;
    };
    size_t size = columnSize(storage.k);
    for (int64_t row = 0; row < storage.n; ++row)
      for (uint32_t i = load(starts, row, 4); i < load(starts, row + 1, 4); ++i)
        out[row * storage.k + load(columns, i, size)] += loadHalf(values, i);
  }

private:
  static size_t columnSize(int64_t k) { return k <= 65536 ? 2 : 4; }

  void storeStart(std::vector<std::vector<char>> &components, int64_t row,
                  int32_t position) const {
    std::memcpy(components[storage.sparseIndex()].data() + row * 4, &position,
                4);
  }

  void storeColumn(std::vector<std::vector<char>> &components, int64_t position,
                   int32_t column) const {
    size_t size = columnSize(storage.k);
    std::memcpy(components[storage.sparseIndex() + 1].data() + position * size,
                &column, size);
  }

  /// Makes what the tables stand for zero in a row, where no other row's
  /// tables change with it.
  void clearDense(std::vector<std::vector<char>> &components,
                  int64_t row) const {
    if (storage.scheme.hasScale()) {
      storeHalf(components[storage.scaleIndex()], row, 0);
    } else if (storage.scheme.getRows() == 1) {
      int64_t size = storage.entriesPerTable() * sizeof(uint16_t);
      std::fill_n(components[1].begin() + row * size, size, 0);
    }
  }

  const Storage &storage;
  int64_t perRow;
  std::vector<int32_t> columns;
  std::vector<float> values;
};

struct LutSolverModel
    : SchemeSolverInterface::ExternalModel<LutSolverModel, LutAttr> {
  SmallVector<StringRef> getSolvers(Attribute) const {
    return {"improved", "literal", "kmeans"};
  }

  llvm::Expected<QuantizedWeight> quantize(Attribute attr,
                                           const WeightProblem &problem,
                                           const SolverOptions &options) const {
    Storage storage(cast<LutAttr>(attr), problem.n, problem.k);
    LutAttr scheme = storage.scheme;
    int64_t n = problem.n, k = problem.k;
    auto name = chooseSolver(getSolvers(attr), options, scheme);
    if (!name)
      return name.takeError();
    SparsePart sparse(storage);
    LutOptions lut;
    lut.bits = static_cast<int>(scheme.getBits());
    lut.group = scheme.getGroup();
    lut.rows = scheme.getRows();
    lut.entry = getEntry(scheme);
    lut.kept = sparse.getPerRow();
    lut.alpha = options.alpha;
    lut.method = llvm::StringSwitch<LutMethod>(*name)
                     .Case("literal", LutMethod::Literal)
                     .Case("kmeans", LutMethod::KMeans)
                     .Default(LutMethod::Improved);
    auto solver = LutSolver::create(lut, k, problem.gram, problem.cross);
    if (!solver.ok())
      return makeError(solver.message());

    QuantizedWeight result;
    result.components = allocateComponents(scheme, n, k);
    // Blocks of rows are written in any order, and sums depend on theirs.
    std::vector<RowReport> reports(n);
    auto write = [&](const LutRows &rows) {
      packCodes(storage.layout, result.components[0], rows.first, rows.count, k,
                rows.codes);
      int64_t entries = storage.entriesPerTable();
      int64_t first = storage.tableRow(rows.first) * entries;
      int64_t count = llvm::divideCeil(rows.count, scheme.getRows()) * entries;
      for (int64_t i = 0; i < count; ++i)
        storeFloat(result.components[1], scheme.getEntry(), first + i,
                   rows.tables[i]);
      for (int64_t row = 0; row < rows.count; ++row) {
        if (scheme.hasScale())
          storeHalf(result.components[storage.scaleIndex()], rows.first + row,
                    rows.scales[row]);
        if (scheme.getActivation()) {
          int32_t sum = storage.sumEntries(result.components, rows.first + row);
          std::memcpy(result.components[storage.sumIndex()].data() +
                          (rows.first + row) * sizeof(sum),
                      &sum, sizeof(sum));
        }
      }
      std::copy_n(rows.rows, rows.count, reports.begin() + rows.first);
      sparse.add(rows);
      return Status();
    };
    if (Status status =
            solver->solve(n, makeReader(problem), write, makeProgress(options));
        !status.ok())
      return makeError(status.message());
    if (scheme.hasSparsePart()) {
      auto readTarget = [&](int64_t row, float *out) -> llvm::Error {
        if (llvm::Error failure = problem.readRows(row, 1, out))
          return failure;
        solver->target(out, 1, out);
        return llvm::Error::success();
      };
      std::vector<bool> whole = sparse.chooseRows(reports);
      if (llvm::Error failure =
              sparse.pack(whole, readTarget, result.components))
        return std::move(failure);
    }
    result.relativeError = ganq::quant::relativeOutputError(reports);
    result.note = describe(scheme, n, k, solver->damping());
    result.gramCondition = solver->damping().condition;
    return result;
  }

  void decode(Attribute attr, int64_t n, int64_t k,
              ArrayRef<ArrayRef<char>> components, float *out) const {
    Storage storage(cast<LutAttr>(attr), n, k);
    std::vector<ArrayRef<char>> list = components.vec();
    for (int64_t row = 0; row < n; ++row)
      storage.decodeRow(list, row, out + row * k);
    if (storage.scheme.hasSparsePart())
      SparsePart::decode(storage, components, out);
  }
};

} // namespace

void ganq::registerLutSolver(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, GanqDialect *) {
    LutAttr::attachInterface<LutSolverModel>(*context);
  });
}
