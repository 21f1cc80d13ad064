// Rows of the job table as a damaged disk may leave them: the input is the request, the progress and the state of a
// row. The table opens or says what is damaged; a job that is read is one that the API can show.
#include <google/protobuf/stubs/logging.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "server/jobs/job_table.h"

namespace {

// A file with one job, in a directory of this process.
struct TableDirectory {
  TableDirectory() {
    char pattern[] = "/tmp/haarflow-fuzz-XXXXXX";
    if (::mkdtemp(pattern) == nullptr) std::abort();
    path.assign(pattern, std::strlen(pattern));
    haarflow::JobTable::Options options;
    options.file = file();
    auto table = haarflow::JobTable::Open(options);
    haarflow::JobRecord job;
    job.id = "job-1";
    job.request.set_idempotency_key("k");
    job.request_text = "text";
    job.start_model = job.publish_model = std::string(1, 'm');
    if (!table.ok() || !(*table)->Submit(job).ok()) std::abort();
  }
  ~TableDirectory() { std::filesystem::remove_all(path); }
  std::string file() const { return path + "/jobs.sqlite"; }
  std::string path;
};
std::string TableFile() {
  static const TableDirectory directory;
  return directory.file();
}

void Write(const std::string& request, const std::string& progress, int64_t state) {
  sqlite3* database = nullptr;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_open(TableFile().c_str(), &database) != SQLITE_OK) std::abort();
  sqlite3_exec(database, "PRAGMA synchronous = OFF", nullptr, nullptr, nullptr);
  const char* update = "UPDATE jobs SET request = ?1, progress = ?2, state = ?3";
  if (sqlite3_prepare_v2(database, update, -1, &statement, nullptr) != SQLITE_OK) std::abort();
  sqlite3_bind_blob(statement, 1, request.data(), static_cast<int>(request.size()), SQLITE_TRANSIENT);
  sqlite3_bind_blob(statement, 2, progress.data(), static_cast<int>(progress.size()), SQLITE_TRANSIENT);
  sqlite3_bind_int64(statement, 3, state);
  sqlite3_step(statement);  // a constraint of the table may refuse it
  sqlite3_finalize(statement);
  sqlite3_close(database);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  [[maybe_unused]] static const auto loud = google::protobuf::SetLogHandler(nullptr);
  if (size < 2) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t cut = bytes.size() * data[0] / 256;
  Write(bytes.substr(0, cut), bytes.substr(cut), static_cast<int8_t>(data[1]));
  haarflow::JobTable::Options options;
  options.file = TableFile();
  const auto table = haarflow::JobTable::Open(options);
  if (!table.ok()) std::abort();  // rows are not the table's structure
  const auto job = (*table)->Get("job-1");
  if (job.ok()) {
    if (!haarflow::v1::JobState_IsValid(job->state)) std::abort();
    std::string shown;
    if (!haarflow::ToJob(*job).SerializeToString(&shown)) std::abort();
  }
  (*table)->List(0, 10).status().IgnoreError();
  (*table)->Held().status().IgnoreError();
  (*table)->Lease("w").status().IgnoreError();
  return 0;
}
