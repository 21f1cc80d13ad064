# The client library and the command line against a fake service: real sockets, no model.
find_package(nlohmann_json CONFIG REQUIRED)
set(cli_fake cli_fake_service.cc ../unit/io_fake_run.cc)
haarflow_test(client_test SOURCES client_test.cc ${cli_fake} DEPS haarflow_client haarflow_reference LABELS service)
haarflow_test(cli_output_test SOURCES cli_output_test.cc DEPS haarflow_cli LABELS service)
haarflow_test(cli_test SOURCES cli_test.cc cli_theory_test.cc cli_sun_test.cc ${cli_fake} DEPS haarflow_client haarflow_reference nlohmann_json::nlohmann_json LABELS service)
if(TARGET cli_test)
  add_dependencies(cli_test haarflow)  # it runs the binary
endif()
