haarflow_test(endpoint_test SOURCES endpoint_test.cc DEPS haarflow_client LABELS service)
