# Bundled models re-tuned by request while a client streams: minutes, so in the long tier.
haarflow_test(retune_process_test SOURCES retune_process_test.cc DEPS haarflow_grpc haarflow_train LABELS service TIMEOUT 7200)
target_compile_definitions(retune_process_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
  HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
add_dependencies(retune_process_test haarflow-server haarflow-trainer)
