# A server watched from outside: metrics, traces in the log, the status page.
haarflow_test(watch_process_test SOURCES watch_process_test.cc DEPS haarflow_grpc haarflow_metrics haarflow_train haarflow_reference LABELS service)
if(HAARFLOW_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 believes that std::regex moves an empty std::function.
  set_source_files_properties(watch_process_test.cc PROPERTIES COMPILE_OPTIONS -Wno-maybe-uninitialized)
endif()
target_compile_definitions(watch_process_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
add_dependencies(watch_process_test haarflow-server haarflow)
