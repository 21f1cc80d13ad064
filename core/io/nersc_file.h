// NERSC archive files of one SU(3) gauge field in four dimensions: an ASCII header, then the field, by all three rows
// of each link or by the first two. haarflow's own record stands beside the file (core/io/gauge_run.h).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/io/gauge_field.h"
#include "core/io/temporary_file.h"

namespace haarflow {

// True where `source` begins like a NERSC file.
bool IsNersc(const ByteSource& source);

// 3x3 and two rows, 32 and 64 bits, both byte orders. A FLOATING_POINT without a byte order means one thing to one
// program and another to the next: the checksum decides. Checks CHECKSUM (which must be there), PLAQUETTE and
// LINK_TRACE (where they are). DATA_LOSS for what contradicts itself, UNIMPLEMENTED for other data and other
// boundaries.
absl::StatusOr<GaugeConfiguration> ReadNersc(const ByteSource& source);

// What the header says beside the field.
struct NerscTexts {
  std::string ensemble_id;
  std::string ensemble_label;
  std::string creator;
  std::string hardware;
  uint64_t sequence_number = 0;
};
// IEEE64BIG; `rows` 3 or 2.
absl::Status WriteNersc(const Lattice& lattice, const std::vector<double>& links, int rows, const NerscTexts& texts,
                        OutputStream* out);

}  // namespace haarflow
