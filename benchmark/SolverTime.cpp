//===- SolverTime.cpp - Time and memory of the table solver ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   solver-time FOLDER ROWS COLUMNS BITS improved|literal|kmeans
//
// solves one layer, FOLDER/w.f32 [rows, columns] and FOLDER/h.f64 [columns,
// columns], and prints a line of JSON: seconds, the peak of resident memory
// with both matrices, and the relative output error. solver_time.py makes the
// layer.
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Lut.h"
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <sys/resource.h>

using namespace ganq::quant;

static int fail(const std::string &message) {
  std::fprintf(stderr, "solver-time: %s\n", message.c_str());
  return 1;
}

template <typename T>
static bool read(const std::string &path, std::vector<T> &out) {
  std::ifstream file(path, std::ios::binary);
  auto bytes = static_cast<std::streamsize>(out.size() * sizeof(T));
  return file.read(reinterpret_cast<char *>(out.data()), bytes).gcount() ==
         bytes;
}

/// Peak of resident memory in MiB; what getrusage tells includes the parent's.
static long peakMemory() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("VmHWM:", 0) == 0)
      return std::atol(line.c_str() + 6) / 1024;
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 6)
    return fail("expected FOLDER ROWS COLUMNS BITS METHOD, but got " +
                std::to_string(argc - 1) + " arguments");
  std::string folder = argv[1], method = argv[5];
  long n = std::atol(argv[2]), k = std::atol(argv[3]);
  if (n < 1 || k < 1)
    return fail("expected positive numbers of rows and columns");
  LutOptions options;
  options.bits = std::atoi(argv[4]);
  if (method == "literal")
    options.method = LutMethod::Literal;
  else if (method == "kmeans")
    options.method = LutMethod::KMeans;
  else if (method != "improved")
    return fail("expected improved, literal or kmeans, but got '" + method +
                "'");
  auto seconds = [start = std::chrono::steady_clock::now()] {
    std::chrono::duration<double> passed =
        std::chrono::steady_clock::now() - start;
    return passed.count();
  };
  std::vector<float> w(n * k);
  if (!read(folder + "/w.f32", w))
    return fail("expected " + folder + "/w.f32 to hold the weights");
  double begin, prepared;
  Expected<LutSolver> solver = Status::error("not made");
  {
    std::vector<double> h(k * k);
    if (!read(folder + "/h.f64", h))
      return fail("expected " + folder + "/h.f64 to hold the Gram matrix");
    begin = seconds();
    solver = LutSolver::create(options, k, h.data());
    prepared = seconds();
  }
  if (!solver.ok())
    return fail(solver.message());
  double error = 0, energy = 0;
  Status status = solver->solve(
      n,
      [&](int64_t first, int64_t count, float *dst) {
        std::copy_n(w.data() + first * k, count * k, dst);
        return Status();
      },
      [&](const LutRows &rows) {
        for (int64_t row = 0; row != rows.count; ++row) {
          error += rows.rows[row].outputError;
          energy += rows.rows[row].outputEnergy;
        }
        return Status();
      });
  if (!status.ok())
    return fail(status.message());
  double solved = seconds();
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  std::printf("{\"prepare_s\": %.3f, \"solve_s\": %.3f, \"cpu_s\": %.3f, "
              "\"peak_mib\": %ld, \"relative_error\": %.6f}\n",
              prepared - begin, solved - prepared,
              static_cast<double>(usage.ru_utime.tv_sec) +
                  1e-6 * static_cast<double>(usage.ru_utime.tv_usec),
              peakMemory(), std::sqrt(error / energy));
  return 0;
}
