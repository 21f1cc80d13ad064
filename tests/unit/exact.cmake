haarflow_test(weights_test SOURCES weights_test.cc DEPS haarflow_exact LABELS unit)
haarflow_test(metropolis_test SOURCES metropolis_test.cc DEPS haarflow_exact LABELS unit)
haarflow_test(action_test SOURCES action_test.cc DEPS haarflow_observable haarflow_reference LABELS unit)
