// The little of SQLite that the job table needs: one connection that nobody else can open, durable commits, statements.
//
// Thread-safety: none; a connection and its statements belong to one thread at a time. Errors: ABORTED for a violated
// constraint, RESOURCE_EXHAUSTED for a full disk, DATA_LOSS for a damaged file, UNAVAILABLE for the rest.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace haarflow {

// A prepared statement. Bind all parameters, Step through the rows; Reset before the next use.
class SqlStatement {
 public:
  SqlStatement(SqlStatement&& other) noexcept;
  SqlStatement& operator=(SqlStatement&&) = delete;
  ~SqlStatement();

  // Parameters count from 1.
  SqlStatement& Bind(int index, int64_t value);
  SqlStatement& Bind(int index, double value);
  SqlStatement& BindText(int index, const std::string& value);
  SqlStatement& BindBlob(int index, const std::string& value);
  // True: a row. The first error of Bind is returned here.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run();
  void Reset();

  // Columns of the present row, from 0.
  int64_t Integer(int column) const;
  double Real(int column) const;
  std::string Bytes(int column) const;  // text or blob

 private:
  friend class SqlDatabase;
  SqlStatement(sqlite3* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}
  sqlite3* database_;
  sqlite3_stmt* statement_;
  int bind_error_ = 0;
};

class SqlDatabase {
 public:
  // Opens or creates `path`: write-ahead log, full synchronisation (what was committed survives a power failure),
  // foreign keys, locked for this process alone. FAILED_PRECONDITION on a network file system, where SQLite's locks and
  // its log cannot be trusted; UNAVAILABLE when another process has it open; DATA_LOSS when its structure is damaged.
  static absl::StatusOr<std::unique_ptr<SqlDatabase>> Open(const std::string& path);
  ~SqlDatabase();
  SqlDatabase(const SqlDatabase&) = delete;
  SqlDatabase& operator=(const SqlDatabase&) = delete;

  // Statements without parameters and results, separated by semicolons.
  absl::Status Execute(const std::string& sql);
  absl::StatusOr<SqlStatement> Prepare(const std::string& sql);
  // All of `body` or nothing.
  absl::Status Transaction(const std::function<absl::Status()>& body);

  // Applies the scripts that PRAGMA user_version says are missing, one transaction each. FAILED_PRECONDITION for a file
  // of a newer program.
  absl::Status Migrate(const std::vector<std::string>& scripts);

 private:
  explicit SqlDatabase(sqlite3* database) : database_(database) {}
  sqlite3* database_;
};

// FAILED_PRECONDITION when `directory` is on a network file system. `magic`: statfs's f_type.
absl::Status CheckLocalFileSystem(const std::string& directory);
bool IsNetworkFileSystem(int64_t magic);

}  // namespace haarflow
