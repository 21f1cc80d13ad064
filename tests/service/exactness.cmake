# Exactness as a user sees it: a real client, a real socket, pulls against exact values.
haarflow_test(client_exactness_test SOURCES client_exactness_test.cc DEPS haarflow_rpc haarflow_client haarflow_action LABELS service
  TIMEOUT 900)
if(TARGET client_exactness_test)
  target_compile_definitions(client_exactness_test PRIVATE HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
endif()
haarflow_test(free_field_test SOURCES free_field_test.cc DEPS haarflow_rpc haarflow_client haarflow_observable LABELS service TIMEOUT 600)
