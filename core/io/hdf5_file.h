// HDF5 files of configurations (lattice.md 1.5):
//
//   /links              [n][mu][..., y, x]  float64 or float32, angles; chunked along n, extendable. SU(N):
//                       [n][mu][..., y, x][row][column], compounds {r, i} that h5py reads as complex. Scalars: /field,
//                       [n][..., y, x] or [n][component][..., y, x]
//   /index              [n]  uint64         the proposal's index: with digests and seed it names the configuration
//   /multiplicity       [n]  uint64         chain steps; METROPOLIS only
//   /log_weight         [n]  float64        -action - log_q
//   /log_q, /action     [n]  float64
//   /observables/NAME   [n]  float64
//   attributes of the root: run_attributes.cc
#pragma once

#include <string>

#include "absl/status/status.h"
#include "core/io/part_file.h"

namespace haarflow {

// `run` describes the rows. Memory: one chunk of configurations.
absl::Status WriteHdf5(const PartContents& run, const RowSource& rows, const std::string& path);

// The inverse: header, chunks, and the token in an unfinished summary. Rows are bounded by the datasets' extents; what
// the attributes say is compared with the header, and the fields' SHA-256 is verified at the end: DATA_LOSS.
absl::Status ReadHdf5(const std::string& path, const MessageVisitor& visit);

}  // namespace haarflow
