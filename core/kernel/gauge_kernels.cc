// Picks the instruction set of the updates of SU(N) links.
#include <string>

#include "core/kernel/cpu/gauge_isa.h"
#include "core/kernel/cpu/isa.h"

namespace haarflow::kernel {

const GaugeKernels* GaugeKernelsFor(const char* instruction_set) {
  if (IsaKernelsFor(instruction_set) == nullptr) return nullptr;
  const std::string name = instruction_set;
  return name == "avx512" ? Avx512GaugeKernels() : name == "avx2" ? Avx2GaugeKernels() : BaselineGaugeKernels();
}

}  // namespace haarflow::kernel
