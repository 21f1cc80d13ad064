#define HF_ISA isa_avx512
#define HF_LOOP_ENTRY Avx512LoopKernels
#include "core/kernel/cpu/loop_flow.inc"
