# Hours under a sanitizer, which sees the same code in the tests of small models.
if(HAARFLOW_SANITIZE)
  return()
endif()
haarflow_test(bundled_test SOURCES bundled_test.cc DEPS haarflow_train haarflow_reference LABELS exactness TIMEOUT 3600)
target_compile_definitions(bundled_test PRIVATE HAARFLOW_SOURCE="${CMAKE_SOURCE_DIR}")
