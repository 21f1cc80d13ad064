// Runs of SU(3) gauge fields in four dimensions as ILDG or NERSC files: one file for each configuration, since that is
// what programs read.
//
// One configuration is written as PATH itself. More are PATH with the proposal's index before its extension
// (conf.00000017.lime) and PATH.json with what belongs to the run: attributes (run_attributes.cc), "index": the
// configurations in order, and the resume token. What belongs to one configuration (index, multiplicity, log_weight,
// log_q, action, observables as "values", digests, seed) is a JSON object: the record haarflow-configuration of an ILDG
// file, FILE.json beside a NERSC file.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "core/io/gauge_field.h"
#include "core/io/part_file.h"

namespace haarflow {

enum class GaugeFormat { kIldg, kNersc };

// INVALID_ARGUMENT unless these are SU(3) links in four dimensions.
absl::Status CheckGaugeTarget(const v1::Target& target);

// Writes a run; each file appears whole or not at all, PATH.json last. Where a run of PATH was, it is gone as soon as
// the first file of the new one stands. `nersc_rows`: 3, or 2 for files without the third rows.
absl::Status WriteGaugeRun(const PartContents& run, const RowSource& rows, GaugeFormat format, int nersc_rows,
                           const std::string& path);

// Reads a run: a single file, or PATH.json with its files when there is no file PATH. A file without a record of
// haarflow gives a foreign header (IsForeign), one row of index `position`, and the plaquette as an observable.
absl::Status ReadGaugeRun(const std::string& path, uint64_t position, const MessageVisitor& visit);

// One configuration as messages. `sidecar`: the record of a NERSC file; empty: none.
absl::Status GaugeMessages(const GaugeConfiguration& configuration, uint64_t position, const MessageVisitor& visit);

// PATH.json, and the file of one configuration of a run of several.
std::string GaugeRunFile(const std::string& path);
std::string GaugeFileOf(const std::string& path, uint64_t index);

}  // namespace haarflow
