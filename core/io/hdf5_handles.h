// HDF5's C API behind RAII and Status. Private to core/io.
#pragma once

#include <hdf5.h>

#include <string>

#include "absl/status/status.h"

namespace haarflow {

// An identifier and what closes it. Close() tells of failures, the destructor does not.
class H5Handle {
 public:
  using Closer = herr_t (*)(hid_t);
  H5Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  ~H5Handle() { Close(); }
  H5Handle(H5Handle&& other) noexcept : id_(other.id_), closer_(other.closer_) { other.id_ = -1; }
  H5Handle(const H5Handle&) = delete;
  H5Handle& operator=(H5Handle&&) = delete;

  bool ok() const { return id_ >= 0; }
  hid_t get() const { return id_; }
  bool Close() {
    const hid_t id = id_;
    id_ = -1;
    return id < 0 || closer_(id) >= 0;
  }

 private:
  hid_t id_;
  Closer closer_;
};

// Keeps HDF5 from printing its error stack while it lives.
class H5Silence {
 public:
  H5Silence();
  ~H5Silence();
  H5Silence(const H5Silence&) = delete;
  H5Silence& operator=(const H5Silence&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

// The current HDF5 error as a Status about `what`: RESOURCE_EXHAUSTED for a full disk, otherwise `code`.
absl::Status H5Status(const std::string& what, absl::StatusCode code = absl::StatusCode::kUnavailable);

// float64 or float32; complex: the compound {r, i} of two, which h5py reads as complex128 or complex64. In a file
// (little-endian) or in memory.
H5Handle H5FieldType(bool float32, bool complex, bool in_file);

H5Handle H5Space(int rank, const hsize_t* extents, const hsize_t* maximum = nullptr);

}  // namespace haarflow
