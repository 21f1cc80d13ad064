#define HF_ISA isa_baseline
#define HF_LOOP_ENTRY BaselineLoopKernels
#include "core/kernel/cpu/loop_flow.inc"
