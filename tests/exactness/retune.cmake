haarflow_test(retune_policy_test SOURCES retune_policy_test.cc DEPS haarflow_train LABELS unit)
haarflow_test(retuner_test SOURCES retuner_test.cc DEPS haarflow_train LABELS exactness TIMEOUT 3600)
target_compile_definitions(retuner_test PRIVATE HAARFLOW_MODELS="${CMAKE_SOURCE_DIR}/deploy/models")
