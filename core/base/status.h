// Error plumbing: everything below rpc/ returns absl::Status or absl::StatusOr. Messages name the object, the value,
// the remedy.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#define HF_CONCAT_INNER_(a, b) a##b
#define HF_CONCAT_(a, b) HF_CONCAT_INNER_(a, b)

// Returns from the enclosing function if `expr` (a Status) is not OK.
#define RETURN_IF_ERROR(expr)                                                  \
  do {                                                                         \
    if (absl::Status hf_status_ = (expr); !hf_status_.ok()) return hf_status_; \
  } while (false)

// Evaluates `expr` (a StatusOr), returns its error or assigns its value: ASSIGN_OR_RETURN(auto x, F());
#define ASSIGN_OR_RETURN(lhs, expr) HF_ASSIGN_OR_RETURN_(HF_CONCAT_(hf_statusor_, __LINE__), lhs, expr)
#define HF_ASSIGN_OR_RETURN_(var, lhs, expr)     \
  auto var = (expr);                             \
  if (!var.ok()) return std::move(var).status(); \
  lhs = std::move(var).value()

namespace haarflow {

// The same code with `context` and ": " before the message.
inline absl::Status Annotate(const absl::Status& status, const std::string& context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace haarflow
