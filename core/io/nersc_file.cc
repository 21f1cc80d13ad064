#include "core/io/nersc_file.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "core/base/status.h"
#include "core/io/gauge_texts.h"

namespace haarflow {
namespace {

constexpr char kBegin[] = "BEGIN_HEADER";
constexpr char kEnd[] = "END_HEADER";
constexpr int64_t kSitesAtOnce = 1024;

using Keys = std::map<std::string, std::string>;

absl::StatusOr<std::string> ValueOf(const Keys& keys, const std::string& name) {
  const auto found = keys.find(name);
  if (found == keys.end()) return absl::DataLossError(absl::StrCat("has no ", name, " in its header"));
  return found->second;
}

// The keys, and where the field begins.
absl::StatusOr<Keys> ReadHeader(const ByteSource& source, uint64_t* data_offset) {
  const uint64_t bytes = std::min(source.size(), kMaxGaugeText);
  ASSIGN_OR_RETURN(const std::string text, source.Text(0, bytes, kMaxGaugeText));
  Keys keys;
  size_t at = 0;
  for (bool first = true; at < text.size(); first = false) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    const std::string line = Trimmed(text.substr(at, end - at));
    at = end + 1;
    if (first && line != kBegin) return absl::DataLossError("does not begin with BEGIN_HEADER");
    if (line == kEnd) {
      *data_offset = at;
      return keys;
    }
    const size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    keys.emplace(Trimmed(line.substr(0, equals)), Trimmed(line.substr(equals + 1)));
  }
  return absl::DataLossError(absl::StrCat("has no END_HEADER in its first ", bytes, " bytes"));
}

absl::StatusOr<int> RowsOf(const std::string& datatype) {
  if (datatype == "4D_SU3_GAUGE_3x3" || datatype == "4D_SU3_GAUGE_3X3") return 3;
  if (datatype == "4D_SU3_GAUGE") return 2;
  return absl::UnimplementedError(
      absl::StrCat("DATATYPE is ", datatype.substr(0, 40), "; 4D_SU3_GAUGE_3x3 and 4D_SU3_GAUGE are read"));
}

absl::StatusOr<Lattice> LatticeIn(const Keys& keys) {
  std::vector<int64_t> extents;
  for (int i = 1; i <= 4; ++i) {
    const std::string name = absl::StrCat("DIMENSION_", i);
    ASSIGN_OR_RETURN(const std::string text, ValueOf(keys, name));
    ASSIGN_OR_RETURN(extents.emplace_back(), ParseExtent(name, text));
    const auto boundary = keys.find(absl::StrCat("BOUNDARY_", i));
    if (boundary != keys.end() && absl::AsciiStrToUpper(boundary->second) != "PERIODIC") {
      return absl::UnimplementedError(
          absl::StrCat(boundary->first, " is ", boundary->second.substr(0, 40), "; PERIODIC is read"));
    }
  }
  return GaugeLattice(extents);
}

// The byte order as well: by what the header says, or else by the checksum.
absl::StatusOr<FieldLayout> LayoutOf(const Keys& keys, const ByteSource& source, uint64_t offset,
                                     const Lattice& lattice, uint32_t checksum) {
  FieldLayout layout;
  ASSIGN_OR_RETURN(const std::string datatype, ValueOf(keys, "DATATYPE"));
  ASSIGN_OR_RETURN(layout.rows, RowsOf(datatype));
  ASSIGN_OR_RETURN(const std::string said, ValueOf(keys, "FLOATING_POINT"));
  const std::string numbers = absl::AsciiStrToUpper(said);
  const std::string order =
      numbers.substr(0, 6) == "IEEE32" || numbers.substr(0, 6) == "IEEE64" ? numbers.substr(6) : "?";
  if (order != "" && order != "BIG" && order != "LITTLE") {
    return absl::UnimplementedError(
        absl::StrCat("FLOATING_POINT is ", said.substr(0, 40), "; IEEE32 and IEEE64, with BIG or LITTLE, are read"));
  }
  layout.number_bytes = numbers.substr(0, 6) == "IEEE64" ? 8 : 4;
  layout.big_endian = order != "LITTLE";
  const uint64_t bytes = static_cast<uint64_t>(layout.site_bytes()) * static_cast<uint64_t>(lattice.volume());
  if (source.size() - offset != bytes) {
    return absl::DataLossError(absl::StrCat("has ", source.size() - offset, " bytes after its header, a field of ",
                                            lattice.ToString(), " has ", bytes));
  }
  if (order.empty()) {
    ASSIGN_OR_RETURN(const FieldSums sums, SumField(source, offset, lattice, layout));
    layout.big_endian = sums.words_little != checksum;
  }
  return layout;
}

absl::Status CheckTraces(const Keys& keys, const GaugeTraces& traces) {
  const auto check = [&](const char* name, double value, double tolerance) {
    const auto found = keys.find(name);
    return found == keys.end() ? absl::OkStatus() : CheckTrace(name, found->second, value, tolerance);
  };
  RETURN_IF_ERROR(check("PLAQUETTE", traces.plaquette, kPlaquetteTolerance));
  return check("LINK_TRACE", traces.link_trace, kLinkTraceTolerance);
}

// One line of a header.
std::string Line(const std::string& key, std::string value) {
  std::replace_if(
      value.begin(), value.end(), [](char c) { return absl::ascii_iscntrl(c); }, ' ');
  return absl::StrCat(key, " = ", value, "\n");
}

}  // namespace

bool IsNersc(const ByteSource& source) {
  const uint64_t bytes = sizeof kBegin - 1;
  if (source.size() < bytes) return false;
  const auto head = source.Text(0, bytes, bytes);
  return head.ok() && *head == kBegin;
}

absl::StatusOr<GaugeConfiguration> ReadNersc(const ByteSource& source) {
  uint64_t offset = 0;
  ASSIGN_OR_RETURN(const Keys keys, ReadHeader(source, &offset));
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeIn(keys));
  ASSIGN_OR_RETURN(const std::string checksum_text, ValueOf(keys, "CHECKSUM"));
  ASSIGN_OR_RETURN(const uint32_t checksum, ParseSum("CHECKSUM", checksum_text));
  ASSIGN_OR_RETURN(const FieldLayout layout, LayoutOf(keys, source, offset, lattice, checksum));
  GaugeConfiguration configuration;
  configuration.shape = lattice.shape();
  configuration.precision = 8 * layout.number_bytes;
  FieldSums sums;
  ASSIGN_OR_RETURN(configuration.links, ReadField(source, offset, lattice, layout, &sums));
  const uint32_t found = layout.big_endian ? sums.words_big : sums.words_little;
  if (found != checksum) {
    return absl::DataLossError(
        absl::StrCat("CHECKSUM is ", checksum_text, ", the field has ", SumText(found), ": bytes were altered"));
  }
  RETURN_IF_ERROR(CheckTraces(keys, TracesOf(lattice, configuration.links)));
  return configuration;
}

absl::Status WriteNersc(const Lattice& lattice, const std::vector<double>& links, int rows, const NerscTexts& texts,
                        OutputStream* out) {
  const GaugeTraces traces = TracesOf(lattice, links);
  std::string header = absl::StrCat(kBegin, "\n", Line("HDR_VERSION", "1.0"));
  header += Line("DATATYPE", rows == 3 ? "4D_SU3_GAUGE_3x3" : "4D_SU3_GAUGE");
  header += Line("STORAGE_FORMAT", "1.0");
  for (int mu = 0; mu < 4; ++mu) header += Line(absl::StrCat("DIMENSION_", mu + 1), absl::StrCat(lattice.extent(mu)));
  // Fixed notation with a point: one reader counts the digits after it, and fails where there is none.
  header += Line("LINK_TRACE", absl::StrFormat("%.15f", traces.link_trace));
  header += Line("PLAQUETTE", absl::StrFormat("%.15f", traces.plaquette));
  for (int mu = 0; mu < 4; ++mu) header += Line(absl::StrCat("BOUNDARY_", mu + 1), "PERIODIC");
  header += Line("CHECKSUM", SumText(SumsOf(lattice, links, rows).words_big));
  header += Line("ENSEMBLE_ID", texts.ensemble_id) + Line("ENSEMBLE_LABEL", texts.ensemble_label);
  header += Line("SEQUENCE_NUMBER", absl::StrCat(texts.sequence_number));
  header += Line("CREATOR", texts.creator) + Line("CREATOR_HARDWARE", texts.hardware);
  header += Line("CREATION_DATE", UtcDate()) + Line("ARCHIVE_DATE", UtcDate());
  header += absl::StrCat(Line("FLOATING_POINT", "IEEE64BIG"), kEnd, "\n");
  RETURN_IF_ERROR(out->Write(header.data(), header.size()));
  for (int64_t first = 0; first < lattice.volume(); first += kSitesAtOnce) {
    const std::string bytes = SiteBytes(lattice, links, first, std::min(first + kSitesAtOnce, lattice.volume()), rows);
    RETURN_IF_ERROR(out->Write(bytes.data(), bytes.size()));
  }
  return absl::OkStatus();
}

}  // namespace haarflow
