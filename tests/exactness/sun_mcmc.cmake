haarflow_test(sun_tile_test SOURCES sun_tile_test.cc DEPS haarflow_mcmc haarflow_group haarflow_reference LABELS exactness)
haarflow_test(sun_mcmc_test SOURCES sun_mcmc_test.cc DEPS haarflow_train LABELS exactness TIMEOUT 1800)
