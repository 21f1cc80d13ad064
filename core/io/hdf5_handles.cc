#include "core/io/hdf5_handles.h"

#include "core/base/status.h"

namespace haarflow {
namespace {

// The innermost description is the cause.
herr_t TakeInnermost(unsigned n, const H5E_error2_t* error, void* text) {
  if (n == 0 && error->desc != nullptr) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

}  // namespace

H5Silence::H5Silence() {
  H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

H5Silence::~H5Silence() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

absl::Status H5Status(const std::string& what, absl::StatusCode code) {
  std::string cause;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, TakeInnermost, &cause);
  for (const char* full : {"No space left", "File too large", "quota exceeded"}) {
    if (cause.find(full) != std::string::npos) code = absl::StatusCode::kResourceExhausted;
  }
  return absl::Status(code, cause.empty() ? what : absl::StrCat(what, ": ", cause));
}

H5Handle H5Space(int rank, const hsize_t* extents, const hsize_t* maximum) {
  return H5Handle(H5Screate_simple(rank, extents, maximum), H5Sclose);
}

}  // namespace haarflow
