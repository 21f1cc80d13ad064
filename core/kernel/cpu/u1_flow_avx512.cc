#define HF_ISA isa_avx512
#define HF_ISA_ENTRY Avx512Kernels
#define HF_ISA_NAME "cpu-avx512"
#include "core/kernel/cpu/u1_flow.inc"
