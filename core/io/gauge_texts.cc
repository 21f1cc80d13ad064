#include "core/io/gauge_texts.h"

#include <algorithm>
#include <cmath>
#include <ctime>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr size_t kShownBytes = 40;

// 10^-d for a number with d digits after its point, exponent included.
double LastDigit(const std::string& text) {
  const size_t exponent_at = std::min(text.find_first_of("eE"), text.size());
  const size_t point = text.find('.');
  int digits = point == std::string::npos || point > exponent_at ? 0 : static_cast<int>(exponent_at - point) - 1;
  int exponent = 0;
  if (exponent_at < text.size() && absl::SimpleAtoi(text.substr(exponent_at + 1), &exponent)) digits -= exponent;
  return std::pow(10.0, -digits);
}

}  // namespace

std::string Trimmed(const std::string& text) { return std::string(absl::StripAsciiWhitespace(text)); }

std::optional<std::string> XmlText(const std::string& xml, const std::string& name) {
  for (size_t at = xml.find('<'); at != std::string::npos; at = xml.find('<', at)) {
    if (xml.compare(at, 4, "<!--") == 0) {
      at = xml.find("-->", at);
      if (at == std::string::npos) break;
      continue;
    }
    ++at;
    const size_t tag_end = xml.find_first_of(" \t\r\n/>", at);
    if (tag_end == std::string::npos) break;
    std::string tag = xml.substr(at, tag_end - at);
    if (const size_t colon = tag.find(':'); colon != std::string::npos) tag.erase(0, colon + 1);
    if (tag != name) continue;
    const size_t open_end = xml.find('>', tag_end);
    if (open_end == std::string::npos) break;
    if (xml[open_end - 1] == '/') return std::string();
    return Trimmed(xml.substr(open_end + 1, xml.find('<', open_end) - open_end - 1));
  }
  return std::nullopt;
}

std::string XmlEscaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '<') {
      escaped += "&lt;";
    } else if (c == '&') {
      escaped += "&amp;";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string UtcDate() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%a %b %d %H:%M:%S %Y UTC", &parts);
  return text;
}

absl::StatusOr<int64_t> ParseExtent(const std::string& name, const std::string& text) {
  int64_t extent = 0;
  const bool digits = !text.empty() && text.size() <= 7 && text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || !absl::SimpleAtoi(text, &extent)) {
    return absl::DataLossError(absl::StrCat(name, " is '", text.substr(0, kShownBytes), "', no extent of a lattice"));
  }
  return extent;
}

absl::StatusOr<uint32_t> ParseSum(const std::string& name, const std::string& text) {
  const std::string digits = text.compare(0, 2, "0x") == 0 || text.compare(0, 2, "0X") == 0 ? text.substr(2) : text;
  uint32_t sum = 0;
  if (digits.empty() || digits.size() > 8 || !absl::SimpleHexAtoi(digits, &sum)) {
    return absl::DataLossError(
        absl::StrCat(name, " is '", text.substr(0, kShownBytes), "', not up to 8 hexadecimal digits"));
  }
  return sum;
}

std::string SumText(uint32_t sum) { return absl::StrFormat("%x", sum); }

absl::Status CheckTrace(const std::string& name, const std::string& text, double value, double tolerance) {
  double said = 0;
  if (!absl::SimpleAtod(text, &said) || !std::isfinite(said)) {
    return absl::DataLossError(absl::StrCat(name, " is '", text.substr(0, kShownBytes), "', not a number"));
  }
  if (std::abs(said - value) <= std::max(tolerance, LastDigit(text))) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat("%s is %s, the field's is %.15f: one of them was altered", name,
                                             text.substr(0, kShownBytes), value));
}

}  // namespace haarflow
