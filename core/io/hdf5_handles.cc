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

H5Handle H5FieldType(bool float32, bool complex, bool in_file) {
  const hid_t file_type = float32 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
  const hid_t memory_type = float32 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
  const hid_t number = in_file ? file_type : memory_type;
  if (!complex) return H5Handle(H5Tcopy(number), H5Tclose);
  const size_t bytes = H5Tget_size(number);
  H5Handle type(H5Tcreate(H5T_COMPOUND, 2 * bytes), H5Tclose);
  if (H5Tinsert(type.get(), "r", 0, number) < 0 || H5Tinsert(type.get(), "i", bytes, number) < 0) type.Close();
  return type;
}

H5Handle H5Space(int rank, const hsize_t* extents, const hsize_t* maximum) {
  return H5Handle(H5Screate_simple(rank, extents, maximum), H5Sclose);
}

}  // namespace haarflow
