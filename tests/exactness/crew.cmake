haarflow_test(crew_test SOURCES crew_test.cc DEPS haarflow_train LABELS exactness TIMEOUT 600)
