// haarflow's own record of one gauge configuration, and configurations as messages of a stream. Private to core/io.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/io/gauge_field.h"
#include "core/io/part_file.h"

namespace haarflow {

// Attributes of arrays of a run: gauge files have an order of their own.
constexpr const char* kArrayAttributes[] = {"axes", "dataset", "convention", "mu_order"};

// The JSON text of the first row of `block`. `sha256`: of the field's bytes as the header's shape and precision have
// them. `whole_run`: the row is all of the run, so that the record can continue it.
std::string GaugeRecordText(const PartContents& run, const RowBlock& block, const std::string& sha256, bool whole_run);

}  // namespace haarflow
