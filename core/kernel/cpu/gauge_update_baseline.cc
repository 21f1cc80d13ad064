#define HF_ISA isa_baseline
#define HF_GAUGE_ENTRY BaselineGaugeKernels
#include "core/kernel/cpu/gauge_update.inc"
