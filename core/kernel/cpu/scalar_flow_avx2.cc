#define HF_ISA isa_avx2
#define HF_SCALAR_ENTRY Avx2ScalarKernels
#include "core/kernel/cpu/scalar_flow.inc"
