#define HF_ISA isa_avx512
#define HF_SPECTRAL_ENTRY Avx512SpectralKernels
#include "core/kernel/cpu/spectral_flow.inc"
