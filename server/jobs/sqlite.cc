#include "server/jobs/sqlite.h"

#include <sqlite3.h>
#include <sys/vfs.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <utility>

#include "core/base/file.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr int kBusyMilliseconds = 5000;

absl::Status SqlError(int code, sqlite3* database, const std::string& what) {
  const std::string message =
      absl::StrCat(what, ": ", database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code));
  switch (code & 0xFF) {
    case SQLITE_CONSTRAINT:
      return absl::AbortedError(message);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(absl::StrCat(message, "; free some space"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(absl::StrCat(message, "; restore the file from a copy, or move it away"));
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

SqlStatement::SqlStatement(SqlStatement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      bind_error_(other.bind_error_) {}
SqlStatement::~SqlStatement() { sqlite3_finalize(statement_); }

SqlStatement& SqlStatement::Bind(int index, int64_t value) {
  if (const int code = sqlite3_bind_int64(statement_, index, value); code != SQLITE_OK) bind_error_ = code;
  return *this;
}
SqlStatement& SqlStatement::Bind(int index, double value) {
  if (const int code = sqlite3_bind_double(statement_, index, value); code != SQLITE_OK) bind_error_ = code;
  return *this;
}
SqlStatement& SqlStatement::BindText(int index, const std::string& value) {
  const int code = sqlite3_bind_text64(statement_, index, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) bind_error_ = code;
  return *this;
}
SqlStatement& SqlStatement::BindBlob(int index, const std::string& value) {
  const int code = sqlite3_bind_blob64(statement_, index, value.data(), value.size(), SQLITE_TRANSIENT);
  if (code != SQLITE_OK) bind_error_ = code;
  return *this;
}

absl::StatusOr<bool> SqlStatement::Step() {
  if (bind_error_ != 0) return SqlError(bind_error_, database_, "binding a parameter of the job table");
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return SqlError(code, database_, "the job table");
}

absl::Status SqlStatement::Run() {
  const absl::Status status = Step().status();
  Reset();
  return status;
}

void SqlStatement::Reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  bind_error_ = 0;
}

int64_t SqlStatement::Integer(int column) const { return sqlite3_column_int64(statement_, column); }
double SqlStatement::Real(int column) const { return sqlite3_column_double(statement_, column); }
std::string SqlStatement::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

bool IsNetworkFileSystem(int64_t magic) {
  // From statfs(2) and the kernels' headers: NFS, SMB, CIFS, SMB2, Lustre, GPFS, AFS, Coda, Ceph, 9P, OCFS2, GFS2, NCP,
  // BeeGFS, PanFS, VirtualBox's shared folders, FUSE (sshfs, gcsfuse, s3fs: no telling what is behind it).
  static const std::set<int64_t> kNetwork = {0x6969,     0x517B,     0xFF534D42, 0xFE534D42, 0x0BD00BD0, 0x47504653,
                                             0x5346414F, 0x6B414653, 0x73757245, 0x00C36400, 0x01021997, 0x7461636F,
                                             0x01161970, 0x564C,     0x19830326, 0xAAD7AAEA, 0x786F4256, 0x65735546};
  return kNetwork.count(magic & 0xFFFFFFFF) > 0;
}

absl::Status CheckLocalFileSystem(const std::string& directory) {
  struct statfs info {};
  if (::statfs(directory.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("statfs of ", directory));
  if (!IsNetworkFileSystem(static_cast<int64_t>(info.f_type))) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(directory,
                   " is on a network file system, where the job table's locks and its log cannot be trusted; "
                   "give a directory on a disk of this host"));
}

absl::StatusOr<std::unique_ptr<SqlDatabase>> SqlDatabase::Open(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  RETURN_IF_ERROR(CheckLocalFileSystem(parent.empty() ? "." : parent));
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  std::unique_ptr<SqlDatabase> database(new SqlDatabase(handle));
  if (code != SQLITE_OK) return SqlError(code, handle, absl::StrCat("opening ", path));
  // Exclusive before anything is read: the first access takes the lock, and keeps it.
  absl::Status locked = database->Execute("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;");
  if (locked.ok()) locked = database->Execute("BEGIN EXCLUSIVE; COMMIT;");
  if (absl::IsUnavailable(locked)) {
    return absl::UnavailableError(
        absl::StrCat(path, " is in use (", locked.message(), "): one server owns the job table; stop the other one"));
  }
  RETURN_IF_ERROR(Annotate(locked, path));
  sqlite3_busy_timeout(handle, kBusyMilliseconds);
  RETURN_IF_ERROR(database->Execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"));
  ASSIGN_OR_RETURN(SqlStatement check, database->Prepare("PRAGMA quick_check(1)"));
  absl::StatusOr<bool> row = check.Step();
  if (row.ok() && *row && check.Bytes(0) == "ok") return database;
  return absl::DataLossError(absl::StrCat(path, " is damaged: ", row.ok() ? check.Bytes(0) : row.status().ToString(),
                                          "; restore it from a copy, or move it away"));
}

SqlDatabase::~SqlDatabase() { sqlite3_close_v2(database_); }

absl::Status SqlDatabase::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : SqlError(code, database_, "the job table");
}

absl::StatusOr<SqlStatement> SqlDatabase::Prepare(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(database_, sql.c_str(), -1, &statement, nullptr);
  if (code != SQLITE_OK) return SqlError(code, database_, "preparing a statement of the job table");
  return SqlStatement(database_, statement);
}

absl::Status SqlDatabase::Transaction(const std::function<absl::Status()>& body) {
  RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) status = Execute("COMMIT");
  if (!status.ok()) Execute("ROLLBACK").IgnoreError();  // fails where the error has rolled back already
  return status;
}

absl::Status SqlDatabase::Migrate(const std::vector<std::string>& scripts) {
  int64_t version = 0;
  {
    ASSIGN_OR_RETURN(SqlStatement statement, Prepare("PRAGMA user_version"));
    ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (row) version = statement.Integer(0);
  }
  if (version < 0 || version > static_cast<int64_t>(scripts.size())) {
    return absl::FailedPreconditionError(absl::StrCat("the job table has schema version ", version,
                                                      ", this program knows ", scripts.size(),
                                                      "; use the program that wrote it, or a newer one"));
  }
  for (size_t next = static_cast<size_t>(version); next < scripts.size(); ++next) {
    RETURN_IF_ERROR(Transaction([&]() -> absl::Status {
      RETURN_IF_ERROR(Execute(scripts[next]));
      return Execute(absl::StrCat("PRAGMA user_version = ", next + 1));
    }));
  }
  return absl::OkStatus();
}

}  // namespace haarflow
