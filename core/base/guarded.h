// Exceptions of libraries below, as Status: on threads that an exception would end together with the process.
#pragma once

#include <exception>
#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace haarflow {

// What `f` (-> Status or StatusOr) returns. `what` says in the message what failed: RESOURCE_EXHAUSTED for bad_alloc,
// INTERNAL for any other exception.
template <class F>
auto Guarded(const std::string& what, F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": the server has no memory left for it"));
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat(what, " failed: ", e.what()));
  }
}

}  // namespace haarflow
