#include "core/io/ildg_file.h"

#include "absl/strings/str_format.h"
#include "core/base/status.h"
#include "core/io/gauge_texts.h"
#include "core/io/lime.h"

namespace haarflow {
namespace {

constexpr char kXml[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
constexpr char kRecordType[] = "haarflow-configuration";
constexpr int64_t kSitesAtOnce = 1024;

absl::Status Missing(const std::string& what) { return absl::DataLossError(absl::StrCat("has no ", what)); }

// The records that matter; offsets of none are absent.
struct Contents {
  std::optional<LimeRecord> format;
  std::optional<LimeRecord> data;
  std::optional<LimeRecord> checksum;
  std::optional<LimeRecord> record_xml;
  std::optional<LimeRecord> own;
};

absl::StatusOr<Contents> Find(const ByteSource& source) {
  ASSIGN_OR_RETURN(const std::vector<LimeRecord> records, ReadLimeRecords(source));
  Contents contents;
  for (const LimeRecord& record : records) {
    std::optional<LimeRecord>* place = nullptr;
    if (record.type == "ildg-format") place = &contents.format;
    if (record.type == "ildg-binary-data") place = &contents.data;
    if (record.type == "scidac-checksum") place = &contents.checksum;
    if (record.type == "scidac-record-xml") place = &contents.record_xml;
    if (record.type == kRecordType) place = &contents.own;
    if (place == nullptr) continue;
    if (place->has_value()) {
      return absl::UnimplementedError(
          absl::StrCat("has more than one record ", record.type, ": split it into files of one field each"));
    }
    *place = record;
  }
  if (!contents.format.has_value()) return Missing("record ildg-format: not an ILDG file");
  if (!contents.data.has_value()) return Missing("record ildg-binary-data");
  return contents;
}

struct Format {
  Lattice lattice;
  FieldLayout layout;
};

absl::StatusOr<Format> ParseFormat(const std::string& xml) {
  const auto element = [&](const char* name) -> absl::StatusOr<std::string> {
    const auto text = XmlText(xml, name);
    if (!text.has_value()) return Missing(absl::StrCat("element ", name, " in its ildg-format"));
    return *text;
  };
  ASSIGN_OR_RETURN(const std::string field, element("field"));
  if (field != "su3gauge") {
    return absl::UnimplementedError(absl::StrCat("holds the field '", field.substr(0, 40), "'; su3gauge is read"));
  }
  ASSIGN_OR_RETURN(const std::string precision, element("precision"));
  if (precision != "32" && precision != "64") {
    return absl::DataLossError(absl::StrCat("precision is '", precision.substr(0, 40), "', neither 32 nor 64"));
  }
  std::vector<int64_t> extents;
  for (const char* name : {"lx", "ly", "lz", "lt"}) {
    ASSIGN_OR_RETURN(const std::string text, element(name));
    ASSIGN_OR_RETURN(extents.emplace_back(), ParseExtent(name, text));
  }
  ASSIGN_OR_RETURN(Lattice lattice, GaugeLattice(extents));
  return Format{std::move(lattice), FieldLayout{.big_endian = true, .number_bytes = precision == "64" ? 8 : 4}};
}

absl::Status CheckSums(const std::string& xml, const FieldSums& sums) {
  for (const auto& [name, value] : {std::pair("suma", sums.suma), std::pair("sumb", sums.sumb)}) {
    const auto text = XmlText(xml, name);
    if (!text.has_value()) return Missing(absl::StrCat("element ", name, " in its scidac-checksum"));
    ASSIGN_OR_RETURN(const uint32_t said, ParseSum(name, *text));
    if (said != value) {
      return absl::DataLossError(absl::StrCat("the scidac-checksum says ", name, " ", *text, ", the field has ",
                                              SumText(value), ": bytes were altered"));
    }
  }
  return absl::OkStatus();
}

// Some programs write Re Tr, others Re Tr / 3.
absl::Status CheckInfo(const std::string& xml, const GaugeTraces& traces, bool own) {
  const auto check = [&](const char* name, double value, double tolerance) {
    const auto text = XmlText(xml, name);
    if (!text.has_value()) return absl::OkStatus();
    const absl::Status status = CheckTrace(name, *text, value, tolerance);
    return !status.ok() && !own && CheckTrace(name, *text, 3 * value, tolerance).ok() ? absl::OkStatus() : status;
  };
  RETURN_IF_ERROR(check("plaq", traces.plaquette, kPlaquetteTolerance));
  return check("linktr", traces.link_trace, kLinkTraceTolerance);
}

std::string FormatXml(const Lattice& lattice) {
  return absl::StrFormat(
      "%s<ildgFormat xmlns=\"http://www.lqcd.org/ildg\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
      "xsi:schemaLocation=\"http://www.lqcd.org/ildg/filefmt.xsd\"><version>1.0</version><field>su3gauge</field>"
      "<precision>64</precision><lx>%d</lx><ly>%d</ly><lz>%d</lz><lt>%d</lt></ildgFormat>",
      kXml, lattice.extent(0), lattice.extent(1), lattice.extent(2), lattice.extent(3));
}

class Writer {
 public:
  explicit Writer(OutputStream* out) : out_(out) {}
  absl::Status Text(const std::string& type, const std::string& text, bool begins, bool ends) {
    RETURN_IF_ERROR(Put(LimeHeader(type, text.size(), begins, ends)));
    return Put(text + LimePadding(text.size()));
  }
  absl::Status Put(const std::string& bytes) { return out_->Write(bytes.data(), bytes.size()); }

 private:
  OutputStream* out_;
};

absl::Status WriteData(const Lattice& lattice, const std::vector<double>& links, Writer* writer) {
  RETURN_IF_ERROR(writer->Put(LimeHeader("ildg-binary-data", links.size() * sizeof(double), false, false)));
  for (int64_t first = 0; first < lattice.volume(); first += kSitesAtOnce) {
    RETURN_IF_ERROR(writer->Put(SiteBytes(lattice, links, first, std::min(first + kSitesAtOnce, lattice.volume()), 3)));
  }
  return absl::OkStatus();  // 576 bytes a site: no padding
}

}  // namespace

absl::StatusOr<GaugeConfiguration> ReadIldg(const ByteSource& source) {
  ASSIGN_OR_RETURN(const Contents contents, Find(source));
  const auto text = [&](const LimeRecord& record, uint64_t most) -> absl::StatusOr<std::string> {
    auto read = source.Text(record.offset, record.bytes, most);
    if (!read.ok()) return Annotate(read.status(), absl::StrCat("record ", record.type));
    return read;
  };
  ASSIGN_OR_RETURN(const std::string format_xml, text(*contents.format, kMaxGaugeText));
  ASSIGN_OR_RETURN(const Format format, ParseFormat(format_xml));
  const uint64_t bytes =
      static_cast<uint64_t>(format.layout.site_bytes()) * static_cast<uint64_t>(format.lattice.volume());
  if (contents.data->bytes != bytes) {
    return absl::DataLossError(absl::StrCat("ildg-binary-data has ", contents.data->bytes, " bytes, a field of ",
                                            format.lattice.ToString(), " has ", bytes));
  }
  GaugeConfiguration configuration;
  configuration.shape = format.lattice.shape();
  configuration.precision = 8 * format.layout.number_bytes;
  if (contents.own.has_value()) {
    ASSIGN_OR_RETURN(configuration.record, text(*contents.own, kMaxRecordText));
  }
  FieldSums sums;
  ASSIGN_OR_RETURN(configuration.links, ReadField(source, contents.data->offset, format.lattice, format.layout, &sums));
  if (contents.checksum.has_value()) {
    ASSIGN_OR_RETURN(const std::string xml, text(*contents.checksum, kMaxGaugeText));
    RETURN_IF_ERROR(CheckSums(xml, sums));
  }
  if (contents.record_xml.has_value()) {
    ASSIGN_OR_RETURN(const std::string xml, text(*contents.record_xml, kMaxRecordText));
    RETURN_IF_ERROR(
        CheckInfo(xml, TracesOf(format.lattice, configuration.links), /*own=*/!configuration.record.empty()));
  }
  return configuration;
}

absl::Status WriteIldg(const Lattice& lattice, const std::vector<double>& links, const IldgTexts& texts,
                       OutputStream* out) {
  const GaugeTraces traces = TracesOf(lattice, links);
  const FieldSums sums = SumsOf(lattice, links, /*rows=*/3);
  Writer writer(out);
  RETURN_IF_ERROR(writer.Text(
      "scidac-private-file-xml",
      absl::StrFormat("%s<scidacFile><version>1.1</version><spacetime>4</spacetime><dims>%d %d %d %d </dims>"
                      "<volfmt>0</volfmt></scidacFile>",
                      kXml, lattice.extent(0), lattice.extent(1), lattice.extent(2), lattice.extent(3)),
      true, false));
  RETURN_IF_ERROR(
      writer.Text("scidac-file-xml", absl::StrCat(kXml, "<haarflow><version>1.0</version></haarflow>"), false, true));
  RETURN_IF_ERROR(writer.Text(
      "scidac-private-record-xml",
      absl::StrCat(kXml, "<scidacRecord><version>1.1</version><date>", UtcDate(),
                   "</date><recordtype>0</recordtype><datatype>QDP_D3_ColorMatrix</datatype><precision>D</precision>"
                   "<colors>3</colors><typesize>144</typesize><datacount>4</datacount></scidacRecord>"),
      true, false));
  RETURN_IF_ERROR(writer.Text(
      "scidac-record-xml",
      absl::StrFormat("%s<usqcdInfo><version>1.0</version><plaq>%.15f</plaq><linktr>%.15f</linktr><info>%s</info>"
                      "</usqcdInfo>",
                      kXml, traces.plaquette, traces.link_trace, XmlEscaped(texts.info)),
      false, false));
  RETURN_IF_ERROR(writer.Text("ildg-format", FormatXml(lattice), false, false));
  RETURN_IF_ERROR(writer.Text("ildg-data-lfn", texts.lfn, false, false));
  RETURN_IF_ERROR(WriteData(lattice, links, &writer));
  RETURN_IF_ERROR(writer.Text("scidac-checksum",
                              absl::StrCat(kXml, "<scidacChecksum><version>1.0</version><suma>", SumText(sums.suma),
                                           "</suma><sumb>", SumText(sums.sumb), "</sumb></scidacChecksum>"),
                              false, true));
  return texts.record.empty() ? absl::OkStatus() : writer.Text(kRecordType, texts.record, true, true);
}

}  // namespace haarflow
