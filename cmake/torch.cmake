# LibTorch from the PyPI wheels, CPU part, as an imported target of our own: haarflow_torch.
# The wheel's own CMake files ask for CUDA; its headers bring an old protobuf, hence -idirafter (which also silences their warnings).
set(torch_dir ${HAARFLOW_TORCH_ROOT}/torch)
if(NOT EXISTS ${torch_dir}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch is not at ${torch_dir}: run deploy/setup.sh, set HAARFLOW_TORCH_ROOT, or build without the reference layers "
                      "(-DHAARFLOW_TORCH=OFF)")
endif()
add_library(haarflow_torch INTERFACE)
target_compile_options(haarflow_torch INTERFACE
  "SHELL:-idirafter ${torch_dir}/include" "SHELL:-idirafter ${torch_dir}/include/torch/csrc/api/include")
target_link_libraries(haarflow_torch INTERFACE ${torch_dir}/lib/libtorch_cpu.so ${torch_dir}/lib/libc10.so)
target_link_options(haarflow_torch INTERFACE -Wl,--allow-shlib-undefined -Wl,-rpath,${torch_dir}/lib
  -Wl,-rpath-link,${HAARFLOW_TORCH_ROOT}/nvidia/cu13/lib)
