haarflow_test(gauge_exactness_test SOURCES gauge_exactness_test.cc DEPS haarflow_rpc haarflow_client haarflow_observable LABELS service
  TIMEOUT 1800)
if(TARGET gauge_exactness_test)
  target_compile_definitions(gauge_exactness_test PRIVATE HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
endif()
haarflow_test(u1_theta_test SOURCES u1_theta_test.cc DEPS haarflow_rpc haarflow_client haarflow_observable LABELS service TIMEOUT 900)
if(TARGET u1_theta_test)
  target_compile_definitions(u1_theta_test PRIVATE HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
endif()
