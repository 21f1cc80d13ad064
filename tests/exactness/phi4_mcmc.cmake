haarflow_test(phi4_mcmc_test SOURCES phi4_mcmc_test.cc DEPS haarflow_mcmc haarflow_observable haarflow_exact haarflow_reference
  LABELS exactness TIMEOUT 3600)
