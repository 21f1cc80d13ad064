# Hot swaps and the life of the real server.
haarflow_test(hot_swap_test SOURCES hot_swap_test.cc DEPS haarflow_grpc haarflow_model haarflow_exact haarflow_reference LABELS service
  TIMEOUT 3600)
haarflow_test(life_test SOURCES life_test.cc access_test.cc operator_test.cc security_test.cc DEPS haarflow_grpc haarflow_model LABELS service)
if(TARGET life_test)
  target_compile_definitions(life_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  add_dependencies(life_test haarflow-server haarflow-trainer haarflow)
endif()
if(TARGET hot_swap_test)
  target_compile_definitions(hot_swap_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
    HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
  add_dependencies(hot_swap_test haarflow-server)
endif()
haarflow_test(overload_test SOURCES overload_test.cc DEPS haarflow_client haarflow_model haarflow_reference LABELS service TIMEOUT 900)
if(TARGET overload_test)
  target_compile_definitions(overload_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  add_dependencies(overload_test haarflow-server)
  # It bounds resident memory, which AddressSanitizer's 256 MiB of freed blocks are no part of.
  set_property(TEST overload_test APPEND PROPERTY ENVIRONMENT "ASAN_OPTIONS=quarantine_size_mb=1")
endif()
