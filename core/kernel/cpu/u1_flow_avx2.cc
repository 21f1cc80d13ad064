#define HF_ISA isa_avx2
#define HF_ISA_ENTRY Avx2Kernels
#define HF_ISA_NAME "cpu-avx2"
#include "core/kernel/cpu/u1_flow.inc"
