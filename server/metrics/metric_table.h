// Every metric that the server exports, once: families are made from this table, and server/metrics/README.md has a
// line for each of its rows (tests/service/metrics_test.cc compares).
//
// Thread-safety: immutable.
#pragma once

#include <string>
#include <vector>

namespace haarflow {

struct MetricRow {
  std::string name;
  std::string type;                 // counter, gauge, histogram
  std::vector<std::string> labels;  // sorted
  std::string help;                 // one sentence; HELP of the exposition
};

// In the order of the page.
const std::vector<MetricRow>& MetricTable();
// The row of a name that is in the table; anything else is a defect of the program and ends it.
const MetricRow& MetricNamed(const std::string& name);

}  // namespace haarflow
