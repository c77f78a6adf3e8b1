//===- DeviceTestModel.h - The model by hand, for devices -------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_TEST_DEVICETESTMODEL_H
#define GANQ_RUNTIME_TEST_DEVICETESTMODEL_H

#include "TestModel.h"

namespace ganq::runtime::test {

/// The manifest of TestKernels.h for "emulator" or "cuda", with the chips sm_80
/// and sm_90a.
nlohmann::json deviceManifest(const std::string &arch);

/// The same, of which prompt and decode find the most probable token.
nlohmann::json argmaxManifest(const std::string &arch);

/// The code that goes with it: FakeDeviceModule.c, or what FakeCuda.c takes.
std::string deviceCode(const std::string &arch);

} // namespace ganq::runtime::test

#endif // GANQ_RUNTIME_TEST_DEVICETESTMODEL_H
