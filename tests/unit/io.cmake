find_package(HDF5 REQUIRED COMPONENTS C)
haarflow_test(io_part_test SOURCES io_part_test.cc io_fake_run.cc DEPS haarflow_io haarflow_reference LABELS unit)
haarflow_test(io_files_test SOURCES io_files_test.cc io_fake_run.cc DEPS haarflow_io haarflow_reference HDF5::HDF5 LABELS unit)
haarflow_test(gauge_files_test SOURCES gauge_fields_test.cc gauge_runs_test.cc io_fake_run.cc DEPS haarflow_io haarflow_reference LABELS unit)
