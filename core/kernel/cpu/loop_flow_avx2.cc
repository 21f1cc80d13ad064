#define HF_ISA isa_avx2
#define HF_LOOP_ENTRY Avx2LoopKernels
#include "core/kernel/cpu/loop_flow.inc"
