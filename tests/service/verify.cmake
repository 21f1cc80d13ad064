# Files checked by drawing them again: the binaries themselves, with real models.
haarflow_test(verify_test SOURCES verify_test.cc DEPS haarflow_grpc haarflow_io LABELS service)
if(TARGET verify_test)
  target_compile_definitions(verify_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
    HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
  add_dependencies(verify_test haarflow-server haarflow)
endif()
