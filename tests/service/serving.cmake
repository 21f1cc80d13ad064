# The model manager, the policies and the settings; hot swaps and the life of the real server.
haarflow_test(policy_test SOURCES policy_test.cc DEPS haarflow_sampling LABELS service)
haarflow_test(log_test SOURCES log_test.cc DEPS haarflow_log LABELS service)
haarflow_test(auth_test SOURCES auth_test.cc DEPS haarflow_auth LABELS service)
haarflow_test(config_test SOURCES config_test.cc DEPS haarflow_server_config LABELS service)
haarflow_test(model_manager_test SOURCES model_manager_test.cc DEPS haarflow_sampling haarflow_grpc LABELS service)
haarflow_test(hot_swap_test SOURCES hot_swap_test.cc DEPS haarflow_grpc haarflow_model haarflow_exact haarflow_reference LABELS service
  TIMEOUT 3600)
haarflow_test(life_test SOURCES life_test.cc access_test.cc operator_test.cc security_test.cc DEPS haarflow_grpc haarflow_model LABELS service)
if(TARGET life_test)
  target_compile_definitions(life_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  add_dependencies(life_test haarflow-server haarflow)
endif()
if(TARGET hot_swap_test)
  target_compile_definitions(hot_swap_test PRIVATE HAARFLOW_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
    HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
  add_dependencies(hot_swap_test haarflow-server)
endif()
