haarflow_test(sun_action_test SOURCES sun_action_test.cc DEPS haarflow_action haarflow_reference LABELS unit)
haarflow_test(sun_target_test SOURCES sun_target_test.cc DEPS haarflow_action LABELS unit)
haarflow_test(sun_observable_test SOURCES sun_observable_test.cc DEPS haarflow_observable haarflow_reference LABELS unit)
haarflow_test(sun_spec_test SOURCES sun_spec_test.cc DEPS haarflow_model LABELS unit)
