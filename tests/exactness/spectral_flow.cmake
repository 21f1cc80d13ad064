haarflow_test(spectral_flow_test SOURCES spectral_flow_test.cc DEPS haarflow_model haarflow_group haarflow_plan haarflow_kernel
  LABELS exactness TIMEOUT 900)
haarflow_test(spectral_gradient_test SOURCES spectral_gradient_test.cc DEPS haarflow_train haarflow_group LABELS exactness TIMEOUT 900)
