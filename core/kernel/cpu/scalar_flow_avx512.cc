#define HF_ISA isa_avx512
#define HF_SCALAR_ENTRY Avx512ScalarKernels
#include "core/kernel/cpu/scalar_flow.inc"
