# haarflow_library(name SOURCES ... DEPS ... [PRIVATE_DEPS ...]): the library of one folder of the layout. What it may include is what
# it links; tests/layering checks that includes agree.
function(haarflow_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC haarflow_flags ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
endfunction()

# haarflow_test(name SOURCES ... DEPS ... [LABELS ...] [TIMEOUT seconds]): one GoogleTest executable, one ctest test.
function(haarflow_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE haarflow_flags ${ARG_DEPS} haarflow_test_main)
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(HAARFLOW_SANITIZE)
    math(EXPR ARG_TIMEOUT "10 * ${ARG_TIMEOUT}")
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    ENVIRONMENT "OMP_NUM_THREADS=1;MKL_NUM_THREADS=1;HAARFLOW_SOURCE_DIR=${CMAKE_SOURCE_DIR};HAARFLOW_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/leaks.supp:print_suppressions=0")
endfunction()
