# Jobs, by the binaries themselves.
foreach(part jobs trainer)
  haarflow_test(${part}_process_test SOURCES ${part}_process_test.cc DEPS haarflow_grpc haarflow_train LABELS service TIMEOUT 600)
  target_compile_definitions(${part}_process_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  add_dependencies(${part}_process_test haarflow-server haarflow-trainer haarflow)
endforeach()
haarflow_test(kill_test SOURCES kill_test.cc DEPS haarflow_client haarflow_train haarflow_sampling LABELS service TIMEOUT 3600)
target_compile_definitions(kill_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
add_dependencies(kill_test haarflow-server haarflow-trainer)
