// Texts in gauge files, read with tolerance for what their writers do. Private to core/io.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/io/gauge_field.h"

namespace haarflow {

constexpr uint64_t kMaxGaugeText = 1 << 16;
constexpr uint64_t kMaxRecordText = 1 << 20;

std::string Trimmed(const std::string& text);
// The text of the first element of this name, without blanks around it, whatever its namespace and attributes.
std::optional<std::string> XmlText(const std::string& xml, const std::string& name);
std::string XmlEscaped(const std::string& text);
// Now, as C's asctime writes it.
std::string UtcDate();

// An extent of a lattice: 1 to 7 digits.
absl::StatusOr<int64_t> ParseExtent(const std::string& name, const std::string& text);
// Hexadecimal digits of a 32-bit sum, perhaps with 0x.
absl::StatusOr<uint32_t> ParseSum(const std::string& name, const std::string& text);
std::string SumText(uint32_t sum);

// DATA_LOSS unless the number `text` is `value` to `tolerance`, or to the digits that it has.
absl::Status CheckTrace(const std::string& name, const std::string& text, double value, double tolerance);
constexpr double kPlaquetteTolerance = 1e-5;  // Grid's
constexpr double kLinkTraceTolerance = 1e-6;

}  // namespace haarflow
