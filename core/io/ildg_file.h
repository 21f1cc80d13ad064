// ILDG files of one SU(3) gauge field in four dimensions, in LIME records (client/README.md has the layout):
//
//   scidac-private-file-xml, scidac-file-xml; scidac-private-record-xml, scidac-record-xml (usqcdInfo: plaq, linktr),
//   ildg-format, ildg-data-lfn, ildg-binary-data, scidac-checksum; haarflow-configuration
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/io/gauge_field.h"
#include "core/io/temporary_file.h"

namespace haarflow {

// Needs ildg-format and one ildg-binary-data; checks scidac-checksum and usqcdInfo where they are; skips records that
// it does not know. Reads 32 and 64 bits, with and without the XML namespace. DATA_LOSS for what contradicts itself,
// UNIMPLEMENTED for other fields than su3gauge and for several fields in one file.
absl::StatusOr<GaugeConfiguration> ReadIldg(const ByteSource& source);

// What stands beside the field.
struct IldgTexts {
  std::string lfn;     // logical file name
  std::string info;    // for people
  std::string record;  // the haarflow-configuration record; empty: none
};
// 64 bits.
absl::Status WriteIldg(const Lattice& lattice, const std::vector<double>& links, const IldgTexts& texts,
                       OutputStream* out);

}  // namespace haarflow
