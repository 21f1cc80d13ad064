#include "core/io/gauge_run.h"

#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "absl/strings/str_format.h"
#include "core/action/target.h"
#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "core/io/attribute_json.h"
#include "core/io/gauge_record.h"
#include "core/io/gauge_texts.h"
#include "core/io/ildg_file.h"
#include "core/io/lime.h"
#include "core/io/nersc_file.h"
#include "core/io/temporary_file.h"

namespace haarflow {
namespace {

constexpr uint64_t kTextBytes = 1 << 14;  // beside a field: headers and a record
constexpr char kSetFormat[] = "haarflow configuration files";

bool Exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

// ------------------------------------------------------------------------------------------------------------ writing

// Writes the rows of a run, each into its file; removes them again unless the run is finished.
class GaugeWriter {
 public:
  GaugeWriter(const PartContents& run, GaugeFormat format, int nersc_rows, const std::string& path)
      : run_(run),
        format_(format),
        rows_(format == GaugeFormat::kNersc ? nersc_rows : 3),
        path_(path),
        block_(run.header.observables_size(), run.header.configuration_bytes()) {}
  ~GaugeWriter() {
    if (finished_) return;
    for (const std::string& file : written_) ::unlink(file.c_str());
  }
  GaugeWriter(const GaugeWriter&) = delete;
  GaugeWriter& operator=(const GaugeWriter&) = delete;

  absl::Status Open() {
    ASSIGN_OR_RETURN(lattice_, LatticeOf(run_.header.target()));
    // What stays of a run that was here, until the last of the new one's files stands.
    if (const auto text = ReadFile(GaugeRunFile(path_), kMaxJsonBytes); text.ok()) {
      if (const auto json = ParseJsonObject(*text); json.ok())
        old_ = IndicesOf(*json).value_or(std::vector<uint64_t>());
    }
    return absl::OkStatus();
  }
  absl::Status Add(const SampleRow& row) {
    block_.Add(row);
    return block_.size() > 1 ? WriteFirst() : absl::OkStatus();  // the last may yet grow
  }
  absl::Status Finish() {
    if (block_.size() > 0) RETURN_IF_ERROR(WriteFirst());
    if (!single()) RETURN_IF_ERROR(WriteRunFile());
    finished_ = true;
    const std::set<uint64_t> kept(single() ? std::set<uint64_t>()
                                           : std::set<uint64_t>(indices_.begin(), indices_.end()));
    for (const uint64_t index : old_) {
      if (!kept.contains(index)) Remove(GaugeFileOf(path_, index));
    }
    return absl::OkStatus();
  }

  static absl::StatusOr<std::vector<uint64_t>> IndicesOf(const Json& json) {
    const auto found = json.find("index");
    if (found == json.end() || !found->is_array()) return absl::DataLossError("has no list index");
    std::vector<uint64_t> indices;
    for (const Json& index : *found) {
      if (!index.is_number_unsigned()) return absl::DataLossError("its list index has something else than indices");
      indices.push_back(index.get<uint64_t>());
    }
    return indices;
  }

 private:
  bool single() const { return run_.configurations == 1; }

  // A configuration's file with what stands beside it.
  static void Remove(const std::string& file) {
    ::unlink(file.c_str());
    ::unlink(GaugeRunFile(file).c_str());
  }
  // Before the first new file replaces anything.
  void Invalidate() {
    if (!indices_.empty()) return;
    ::unlink(path_.c_str());
    ::unlink(GaugeRunFile(path_).c_str());
  }

  std::vector<double> Links() const {
    const size_t bytes = run_.header.configuration_bytes();
    std::vector<double> links(bytes / ScalarBytes(run_.header));
    ReadNumbers(absl::MakeConstSpan(block_.fields.data(), bytes), run_.header, links.data());
    return links;
  }

  absl::Status WriteFirst() {
    std::vector<double> links = Links();
    if (rows_ == 2) RebuildThirdRows(&links);  // what a reader will see
    const std::string field = FieldBytes(links.data(), links.size(), run_.header);
    sha_.Update(field);
    const uint64_t index = block_.index[0];
    const std::string file = single() ? path_ : GaugeFileOf(path_, index);
    std::string record;
    if (!IsForeign(run_.header)) {
      record = GaugeRecordText(run_, block_, Sha256Of(field).Hex(), /*whole_run=*/single());
    }
    TemporaryFile temporary(file);
    RETURN_IF_ERROR(Annotate(WriteField(temporary.name(), links, index, record), absl::StrCat("writing ", file)));
    Invalidate();
    if (format_ == GaugeFormat::kNersc && !record.empty()) {
      TemporaryFile sidecar(GaugeRunFile(file));
      RETURN_IF_ERROR(WriteText(sidecar.name(), record));
      ::unlink(file.c_str());  // never an old field beside a new record
      written_.push_back(GaugeRunFile(file));
      RETURN_IF_ERROR(sidecar.Publish());
    }
    written_.push_back(file);
    RETURN_IF_ERROR(temporary.Publish());
    indices_.push_back(index);
    block_.DropFirst(1);
    return absl::OkStatus();
  }

  absl::Status WriteField(const std::string& name, const std::vector<double>& links, uint64_t index,
                          const std::string& record) const {
    ASSIGN_OR_RETURN(OutputStream out, OutputStream::Open(name));
    const v1::SampleHeader& header = run_.header;
    const std::string theory = IsForeign(header) ? "unknown" : DescribeTarget(header.target());
    const std::string model = IsForeign(header) ? "foreign" : absl::StrCat(header.model(), " ", header.version());
    if (format_ == GaugeFormat::kIldg) {
      IldgTexts texts;
      texts.lfn = IsForeign(header) ? absl::StrCat("lfn://haarflow/foreign/", index)
                                    : absl::StrCat("lfn://haarflow/", header.model(), "/", header.version(), "/",
                                                   header.seed(), "/", index);
      texts.info = absl::StrCat(CreatorName(), ", ", model, ", ", theory);
      texts.record = record;
      RETURN_IF_ERROR(WriteIldg(lattice_, links, texts, &out));
    } else {
      NerscTexts texts;
      texts.ensemble_id = model;
      texts.ensemble_label = theory;
      texts.creator = CreatorName();
      texts.hardware = IsForeign(header) ? "unknown" : run_.numerics_class;
      texts.sequence_number = index;
      RETURN_IF_ERROR(WriteNersc(lattice_, links, rows_, texts, &out));
    }
    return out.Close();
  }

  absl::Status WriteText(const std::string& name, const std::string& text) const {
    ASSIGN_OR_RETURN(OutputStream out, OutputStream::Open(name));
    RETURN_IF_ERROR(out.Write(text.data(), text.size()));
    return out.Close();
  }

  absl::Status WriteRunFile() {
    ASSIGN_OR_RETURN(const auto attributes, AttributesOf(run_, sha_.Finish().Hex()));
    Json json = JsonOf(attributes);
    json["format"] = kSetFormat;
    for (const char* name : kArrayAttributes) json.erase(name);
    json["index"] = indices_;
    TemporaryFile file(GaugeRunFile(path_));
    RETURN_IF_ERROR(WriteText(file.name(), TextOf(json)));
    return file.Publish();
  }

  const PartContents& run_;
  const GaugeFormat format_;
  const int rows_;
  const std::string path_;
  Lattice lattice_ = Lattice::Point();
  RowBlock block_;
  Sha256 sha_;
  std::vector<uint64_t> indices_;
  std::vector<uint64_t> old_;
  std::vector<std::string> written_;
  bool finished_ = false;
};

// ------------------------------------------------------------------------------------------------------------ reading

absl::StatusOr<GaugeConfiguration> ReadGaugeFile(const std::string& path) {
  ASSIGN_OR_RETURN(const auto source, FileSource::Open(path));
  if (IsLime(*source)) {
    auto configuration = ReadIldg(*source);
    return configuration.ok() ? std::move(configuration) : Annotate(configuration.status(), path);
  }
  if (!IsNersc(*source)) return absl::DataLossError(absl::StrCat(path, " is neither an ILDG nor a NERSC file"));
  auto configuration = ReadNersc(*source);
  if (!configuration.ok()) return Annotate(configuration.status(), path);
  auto record = ReadFile(GaugeRunFile(path), kMaxRecordText);
  if (record.ok()) {
    configuration->record = *std::move(record);
  } else if (!absl::IsNotFound(record.status())) {
    return record.status();
  }
  return configuration;
}

absl::Status ReadSet(const std::string& path, const MessageVisitor& visit) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(GaugeRunFile(path), kMaxJsonBytes));
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const StoredRun run, StoredRunOf(json));
  ASSIGN_OR_RETURN(const std::vector<uint64_t> indices, GaugeWriter::IndicesOf(json));
  v1::SampleResponse header;
  *header.mutable_header() = run.header;
  RETURN_IF_ERROR(visit(header));
  Sha256 sha;
  const std::string bytes = run.header.SerializeAsString();
  for (size_t i = 0; i < indices.size(); ++i) {
    const std::string file = GaugeFileOf(path, indices[i]);
    ASSIGN_OR_RETURN(const GaugeConfiguration configuration, ReadGaugeFile(file));
    RETURN_IF_ERROR(
        Annotate(GaugeMessages(configuration, i,
                               [&](const v1::SampleResponse& message) -> absl::Status {
                                 if (message.has_header() && message.header().SerializeAsString() != bytes) {
                                   return absl::DataLossError("belongs to another run");
                                 }
                                 if (!message.has_chunk()) return absl::OkStatus();
                                 if (!IsForeign(run.header) && message.chunk().index(0) != indices[i]) {
                                   return absl::DataLossError("holds another configuration than its name says");
                                 }
                                 sha.Update(message.chunk().payload());
                                 return visit(message);
                               }),
                 file));
  }
  if (sha.Finish().Hex() != run.sha256) {
    return absl::DataLossError("the fields do not have the SHA-256 of the run: one was altered");
  }
  v1::SampleResponse summary;
  *summary.mutable_summary()->mutable_statistics() = run.statistics;
  summary.mutable_summary()->set_resume_token(run.resume_token);
  return visit(summary);
}

}  // namespace

absl::Status CheckGaugeTarget(const v1::Target& target) {
  if (target.sun_wilson().colours() == 3 && target.lattice().shape_size() == 4) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("ILDG and NERSC files hold SU(3) links in four dimensions, not ",
                                                 DescribeTarget(target), ": take a name in .h5 or .npy"));
}

std::string GaugeRunFile(const std::string& path) { return path + ".json"; }

std::string GaugeFileOf(const std::string& path, uint64_t index) {
  const size_t dot = path.rfind('.');
  return absl::StrFormat("%s.%08d%s", path.substr(0, dot), index, path.substr(dot));
}

absl::Status WriteGaugeRun(const PartContents& run, const RowSource& rows, GaugeFormat format, int nersc_rows,
                           const std::string& path) {
  RETURN_IF_ERROR(CheckGaugeTarget(run.header.target()));
  GaugeWriter writer(run, format, nersc_rows, path);
  RETURN_IF_ERROR(writer.Open());
  const uint64_t each = static_cast<uint64_t>(FieldSize(run.header.target())) * sizeof(double) + kTextBytes;
  RETURN_IF_ERROR(CheckSpace(path, each, run.configurations));
  RETURN_IF_ERROR(rows([&](const SampleRow& row) { return writer.Add(row); }));
  return writer.Finish();
}

absl::Status ReadGaugeRun(const std::string& path, uint64_t position, const MessageVisitor& visit) {
  if (!Exists(path) && Exists(GaugeRunFile(path))) return Annotate(ReadSet(path, visit), GaugeRunFile(path));
  ASSIGN_OR_RETURN(const GaugeConfiguration configuration, ReadGaugeFile(path));
  return Annotate(GaugeMessages(configuration, position, visit), path);
}

}  // namespace haarflow
