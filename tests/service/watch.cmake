# A server watched from outside: metrics, traces in the log, the status page.
haarflow_test(watch_process_test SOURCES watch_process_test.cc DEPS haarflow_grpc haarflow_metrics haarflow_train haarflow_reference LABELS service)
target_compile_definitions(watch_process_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
add_dependencies(watch_process_test haarflow-server haarflow)
