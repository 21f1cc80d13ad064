haarflow_test(phi4_exactness_test SOURCES phi4_exactness_test.cc DEPS haarflow_rpc haarflow_client haarflow_action LABELS service TIMEOUT 1800)
if(TARGET phi4_exactness_test)
  target_compile_definitions(phi4_exactness_test PRIVATE HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
endif()
