#define HF_ISA isa_baseline
#define HF_ISA_ENTRY BaselineKernels
#define HF_ISA_NAME "cpu-baseline"
#include "core/kernel/cpu/u1_flow.inc"
