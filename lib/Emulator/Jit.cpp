//===- Jit.cpp - Loads host objects into this process ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Jit.h"
#include "ganq/Target/CodeGeneration.h"
#include "ganq/emulator.h"
#include "llvm/ExecutionEngine/Orc/AbsoluteSymbols.h"
#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"

using namespace ganq;
using namespace llvm;

ArrayRef<HostSymbol> ganq::getEmulatorSymbols() {
#define GANQ_SYMBOL(name)                                                      \
  {                                                                            \
    #name, reinterpret_cast<void *>(&name)                                     \
  }
  static const HostSymbol symbols[] = {
      GANQ_SYMBOL(ganq_simt_access),       GANQ_SYMBOL(ganq_simt_range),
      GANQ_SYMBOL(ganq_simt_local_error),  GANQ_SYMBOL(ganq_simt_divide_error),
      GANQ_SYMBOL(ganq_simt_trap),         GANQ_SYMBOL(ganq_simt_assertion),
      GANQ_SYMBOL(ganq_simt_tick),         GANQ_SYMBOL(ganq_simt_yield),
      GANQ_SYMBOL(ganq_simt_print),        GANQ_SYMBOL(ganq_simt_clock),
      GANQ_SYMBOL(ganq_simt_nanoseconds),  GANQ_SYMBOL(ganq_simt_barrier),
      GANQ_SYMBOL(ganq_simt_warp_barrier), GANQ_SYMBOL(ganq_simt_shuffle),
      GANQ_SYMBOL(ganq_simt_vote),         GANQ_SYMBOL(ganq_simt_active_mask),
      GANQ_SYMBOL(ganq_simt_ldmatrix),     GANQ_SYMBOL(ganq_simt_stmatrix),
      GANQ_SYMBOL(ganq_simt_mma),          GANQ_SYMBOL(ganq_simt_copy_async),
      GANQ_SYMBOL(ganq_simt_copy_commit),  GANQ_SYMBOL(ganq_simt_copy_wait)};
#undef GANQ_SYMBOL
  return symbols;
}

Expected<std::unique_ptr<LoadedObject>>
LoadedObject::load(ArrayRef<char> object, ArrayRef<HostSymbol> symbols) {
  initializeBackends();
  auto jit = orc::LLJITBuilder().create();
  if (!jit)
    return jit.takeError();
  orc::JITDylib &library = (*jit)->getMainJITDylib();
  orc::SymbolMap map;
  for (auto [name, address] : symbols)
    map[(*jit)->mangleAndIntern(name)] = {orc::ExecutorAddr::fromPtr(address),
                                          JITSymbolFlags::Exported |
                                              JITSymbolFlags::Callable};
  if (Error error = library.define(orc::absoluteSymbols(std::move(map))))
    return std::move(error);
  auto process = orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(
      (*jit)->getDataLayout().getGlobalPrefix());
  if (!process)
    return process.takeError();
  library.addGenerator(std::move(*process));
  if (Error error = (*jit)->addObjectFile(MemoryBuffer::getMemBufferCopy(
          StringRef(object.data(), object.size()), "ganq")))
    return std::move(error);
  auto loaded = std::make_unique<LoadedObject>();
  loaded->jit = std::move(*jit);
  return std::move(loaded);
}

Expected<void *> LoadedObject::lookup(StringRef name) {
  auto address = jit->lookup(name);
  if (!address)
    return address.takeError();
  return address->toPtr<void *>();
}
