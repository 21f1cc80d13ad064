#define HF_ISA isa_avx2
#define HF_SPECTRAL_ENTRY Avx2SpectralKernels
#include "core/kernel/cpu/spectral_flow.inc"
