haarflow_test(perfect_test SOURCES perfect_test.cc DEPS haarflow_model haarflow_observable haarflow_reference
  LABELS exactness TIMEOUT 900)
haarflow_test(sun_perfect_test SOURCES sun_perfect_test.cc DEPS haarflow_model haarflow_observable LABELS exactness
  TIMEOUT 900)
haarflow_test(u1_plaquette_test SOURCES u1_plaquette_test.cc DEPS haarflow_model haarflow_observable haarflow_mcmc haarflow_reference
  LABELS exactness TIMEOUT 900)
