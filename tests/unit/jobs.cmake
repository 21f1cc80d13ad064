# Jobs without a server or a trainer.
if(HAARFLOW_SERVER_PARTS)
  find_package(SQLite3 REQUIRED)
  haarflow_test(jobs_test SOURCES jobs_test.cc jobs_plan_test.cc DEPS haarflow_jobs SQLite::SQLite3 LABELS unit)
endif()
