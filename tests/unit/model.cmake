foreach(part spec safetensors store model)
  haarflow_test(${part}_test SOURCES ${part}_test.cc DEPS haarflow_model LABELS unit TIMEOUT 60)
endforeach()
haarflow_test(scalar_spec_test SOURCES scalar_spec_test.cc DEPS haarflow_model LABELS unit)
