#define HF_ISA isa_avx2
#define HF_GAUGE_ENTRY Avx2GaugeKernels
#include "core/kernel/cpu/gauge_update.inc"
