haarflow_test(group_test SOURCES group_test.cc DEPS haarflow_group haarflow_kernel LABELS unit)
