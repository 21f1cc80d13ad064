# Jobs, by the binaries themselves.
foreach(part jobs trainer retune)
  haarflow_test(${part}_process_test SOURCES ${part}_process_test.cc DEPS haarflow_grpc haarflow_train LABELS service TIMEOUT 600)
  target_compile_definitions(${part}_process_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  add_dependencies(${part}_process_test haarflow-server haarflow-trainer haarflow)
endforeach()
set_tests_properties(retune_process_test PROPERTIES TIMEOUT 7200)  # in the long tier
target_compile_definitions(retune_process_test PRIVATE HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
haarflow_test(kill_test SOURCES kill_test.cc DEPS haarflow_client haarflow_train haarflow_sampling LABELS service TIMEOUT 3600)
target_compile_definitions(kill_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
add_dependencies(kill_test haarflow-server haarflow-trainer)
