// The CUDA module, compiled for the CPU over fake/cuda_runtime.h: the same bodies, launches, workspaces and table.
#include "core/kernel/cuda/loop_flow.cu"
#include "core/kernel/cuda/module.cu"
#include "core/kernel/cuda/scalar_flow.cu"
#include "core/kernel/cuda/u1_flow.cu"
