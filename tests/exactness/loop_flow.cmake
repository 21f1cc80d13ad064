haarflow_test(continuous_loop_test SOURCES continuous_loop_test.cc DEPS haarflow_plan haarflow_kernel LABELS exactness TIMEOUT 900)
haarflow_test(continuous_loop_trainer_test SOURCES continuous_loop_trainer_test.cc DEPS haarflow_train LABELS exactness TIMEOUT 1800)
haarflow_test(loop_flow_test SOURCES loop_flow_test.cc DEPS haarflow_plan haarflow_kernel LABELS exactness TIMEOUT 900)
haarflow_test(loop_trainer_test SOURCES loop_trainer_test.cc DEPS haarflow_train LABELS exactness TIMEOUT 900)
