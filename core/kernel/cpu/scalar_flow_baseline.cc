#define HF_ISA isa_baseline
#define HF_SCALAR_ENTRY BaselineScalarKernels
#include "core/kernel/cpu/scalar_flow.inc"
