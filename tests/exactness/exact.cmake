haarflow_test(estimate_test SOURCES estimate_test.cc DEPS haarflow_exact LABELS exactness)
haarflow_test(u1_ensemble_test SOURCES u1_ensemble_test.cc DEPS haarflow_exact haarflow_observable haarflow_reference
  LABELS exactness)
