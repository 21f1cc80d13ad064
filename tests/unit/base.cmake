haarflow_test(base_test SOURCES base_test.cc DEPS haarflow_base LABELS unit)
haarflow_test(lattice_test SOURCES lattice_test.cc DEPS haarflow_lattice LABELS unit)
