#define HF_ISA isa_baseline
#define HF_SPECTRAL_ENTRY BaselineSpectralKernels
#include "core/kernel/cpu/spectral_flow.inc"
