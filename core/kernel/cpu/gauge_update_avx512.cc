#define HF_ISA isa_avx512
#define HF_GAUGE_ENTRY Avx512GaugeKernels
#include "core/kernel/cpu/gauge_update.inc"
