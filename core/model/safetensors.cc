#include "core/model/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are little-endian and copied as they are");

constexpr uint64_t kMaxHeaderBytes = uint64_t{16} << 20;
// Small beside what a model needs; they keep the memory of a hostile header near the header's own size.
constexpr size_t kMaxTensors = 65536;
constexpr size_t kMaxDims = 8;
constexpr char kMetadata[] = "__metadata__";

struct TypeName {
  Tensor::Type type;
  const char* name;
  uint64_t bytes;
};
constexpr TypeName kTypes[] = {{Tensor::Type::kFloat32, "F32", 4},
                               {Tensor::Type::kFloat64, "F64", 8},
                               {Tensor::Type::kInt64, "I64", 8},
                               {Tensor::Type::kUint8, "U8", 1}};

const TypeName& Describe(Tensor::Type type) { return kTypes[static_cast<int>(type)]; }

const TypeName* FindType(const std::string& name) {
  const auto* found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeName& t) { return t.name == name; });
  return found == std::end(kTypes) ? nullptr : found;
}

std::string Quoted(const std::string& text) { return absl::StrCat("'", absl::CHexEscape(text.substr(0, 80)), "'"); }

// Only for what a caller in this program got wrong; never for what was read.
void StopUnless(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "haarflow: %s\n", what);
  std::abort();
}

// ------------------------------------------------------------------------------------------------------------ header

struct Entry {
  const TypeName* type = nullptr;
  std::optional<std::vector<uint64_t>> shape;
  std::optional<std::vector<uint64_t>> offsets;
};

struct Header {
  std::map<std::string, Entry> tensors;
  StringMap metadata;
};

// Receives the header token by token, so that nothing but a valid header is ever built and every error has the tensor's
// name:
//   { name: { "dtype": string, "shape": [unsigned...], "data_offsets": [begin, end] }, ..., "__metadata__": { string:
//   string } }
class HeaderReader {
 public:
  using Json = nlohmann::json;

  HeaderReader() = default;
  Header& header() { return header_; }
  const std::string& error() const { return error_; }

  bool start_object(size_t) {
    if (in_array_ || depth_ == 2 || (depth_ == 1 && !has_name_)) return Unexpected("object");
    ++depth_;
    return true;
  }

  bool key(std::string& key) {
    if (depth_ == 1) return StartEntry(key);
    field_ = key;
    if (in_metadata_) {
      return header_.metadata.emplace(key, "").second ||
             Fail(absl::StrCat("the metadata key ", Quoted(key), " is there twice"));
    }
    const bool known = key == "dtype" || key == "shape" || key == "data_offsets";
    return known || Fail(absl::StrCat(Subject(), " has the unknown field ", Quoted(key)));
  }

  bool end_object() {
    if (depth_-- == 1) return true;
    has_name_ = false;
    if (in_metadata_) return true;
    return (entry_->type != nullptr && entry_->shape && entry_->offsets) ||
           Fail(absl::StrCat(Subject(), " lacks dtype, shape or data_offsets"));
  }

  bool start_array(size_t) {
    if (depth_ != 2 || in_metadata_ || in_array_) return Unexpected("array");
    if (field_ != "shape" && field_ != "data_offsets") return Unexpected("array");
    auto& list = List();
    if (list) return Fail(absl::StrCat(Subject(), " has ", field_, " twice"));
    list.emplace();
    in_array_ = true;
    return true;
  }
  bool end_array() {
    in_array_ = false;
    return field_ != "data_offsets" || List()->size() == 2 || Fail(absl::StrCat(Subject(), " needs 2 data_offsets"));
  }

  bool number_unsigned(uint64_t value) {
    if (!in_array_) return Unexpected("number");
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Fail(absl::StrCat(Subject(), " has ", value, " in ", field_, ", which is out of range"));
    }
    if (List()->size() == kMaxDims)
      return Fail(absl::StrCat(Subject(), " has more than ", kMaxDims, " numbers in ", field_));
    List()->push_back(value);
    return true;
  }

  bool string(std::string& value) {
    if (depth_ != 2 || in_array_) return Unexpected("string");
    if (in_metadata_) {
      header_.metadata[field_] = value;
      return true;
    }
    if (field_ != "dtype") return Unexpected("string");
    if (entry_->type != nullptr) return Fail(absl::StrCat(Subject(), " has dtype twice"));
    entry_->type = FindType(value);
    return entry_->type != nullptr ||
           Fail(absl::StrCat(Subject(), " has the dtype ", Quoted(value), "; F32, F64, I64 and U8 are supported"));
  }

  bool null() { return Unexpected("null"); }
  bool boolean(bool) { return Unexpected("boolean"); }
  bool number_integer(int64_t value) { return Unexpected(absl::StrCat("negative number ", value)); }
  bool number_float(double, const std::string&) { return Unexpected("fraction"); }
  bool binary(Json::binary_t&) { return Unexpected("binary"); }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    return Fail(absl::StrCat("the header is not JSON at byte ", position));
  }

 private:
  bool StartEntry(const std::string& key) {
    name_ = key;
    has_name_ = true;
    field_.clear();
    in_metadata_ = key == kMetadata;
    if (in_metadata_) {
      const bool first = !std::exchange(seen_metadata_, true);
      return first || Fail("__metadata__ is there twice");
    }
    if (header_.tensors.size() == kMaxTensors)
      return Fail(absl::StrCat("there are more than ", kMaxTensors, " tensors"));
    const auto [position, fresh] = header_.tensors.emplace(key, Entry{});
    entry_ = &position->second;
    return fresh || Fail(absl::StrCat(Subject(), " is there twice"));
  }

  std::optional<std::vector<uint64_t>>& List() { return field_ == "shape" ? entry_->shape : entry_->offsets; }
  std::string Subject() const { return absl::StrCat("tensor ", Quoted(name_)); }
  bool Unexpected(const std::string& what) {
    return Fail(absl::StrCat(has_name_ ? Subject() : "the header",
                             field_.empty() ? "" : absl::StrCat(" field ", Quoted(field_)), ": unexpected ", what));
  }
  bool Fail(std::string message) {
    error_ = std::move(message);
    return false;
  }

  Header header_;
  std::string error_;
  int depth_ = 0;
  std::string name_;
  bool has_name_ = false;
  std::string field_;
  Entry* entry_ = nullptr;
  bool in_metadata_ = false;
  bool seen_metadata_ = false;
  bool in_array_ = false;
};

absl::StatusOr<Header> ReadHeader(const std::string& bytes, uint64_t length) {
  const char* begin = bytes.data() + 8;
  // The format asks for '{' first: no byte order mark, no leading space.
  if (length == 0 || *begin != '{') return absl::DataLossError("safetensors: the header does not begin with '{'");
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(begin, begin + length, &reader)) {
    return absl::DataLossError(absl::StrCat("safetensors: ", reader.error()));
  }
  return std::move(reader.header());
}

// ----------------------------------------------------------------------------------------------------------- tensors

// nullopt when the size overflows.
std::optional<uint64_t> SizeOf(const Entry& entry) {
  uint64_t size = entry.type->bytes;
  for (uint64_t extent : *entry.shape) {
    if (__builtin_mul_overflow(size, extent, &size)) return std::nullopt;
  }
  return size;
}

absl::Status CheckEntry(const std::string& name, const Entry& entry, uint64_t data_bytes) {
  const uint64_t begin = (*entry.offsets)[0], end = (*entry.offsets)[1];
  const auto bad = [&](auto... parts) {
    return absl::DataLossError(absl::StrCat("safetensors: tensor ", Quoted(name), " ", parts...));
  };
  if (begin > end) return bad("has the offsets ", begin, " and ", end, ", which run backwards");
  if (end > data_bytes) return bad("ends at byte ", end, ", beyond the ", data_bytes, " bytes of data");
  const std::optional<uint64_t> size = SizeOf(entry);
  const std::string shape = absl::StrCat(entry.type->name, "[", absl::StrJoin(*entry.shape, ","), "]");
  if (!size) return bad("has the shape ", shape, ", whose size overflows");
  if (*size != end - begin) return bad("is ", shape, ", ", *size, " bytes, but its offsets span ", end - begin);
  return absl::OkStatus();
}

// Tensors lie one after another without gap or overlap and fill the file.
absl::Status CheckLayout(const Header& header, uint64_t data_bytes) {
  std::vector<std::pair<const std::vector<uint64_t>*, const std::string*>> order;
  order.reserve(header.tensors.size());
  for (const auto& [name, entry] : header.tensors) {
    RETURN_IF_ERROR(CheckEntry(name, entry, data_bytes));
    order.emplace_back(&*entry.offsets, &name);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return *a.first < *b.first; });
  uint64_t position = 0;
  for (const auto& [offsets, name] : order) {
    if ((*offsets)[0] != position) {
      return absl::DataLossError(absl::StrCat(
          "safetensors: tensor ", Quoted(*name), " begins at byte ", (*offsets)[0],
          (*offsets)[0] < position ? ", inside the tensor that ends at byte " : ", leaving a gap after byte ",
          position));
    }
    position = (*offsets)[1];
  }
  if (position == data_bytes) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("safetensors: ", data_bytes - position, " bytes after the last tensor belong to none"));
}

// ------------------------------------------------------------------------------------------------------------ writing

// A JSON string. Invalid UTF-8 becomes U+FFFD rather than an exception.
std::string JsonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string HeaderOf(const TensorMap& tensors, const StringMap& metadata) {
  std::vector<std::string> members;
  if (!metadata.empty()) {
    const auto pair = [](std::string* out, const auto& kv) {
      absl::StrAppend(out, JsonString(kv.first), ":", JsonString(kv.second));
    };
    members.push_back(absl::StrCat(JsonString(kMetadata), ":{", absl::StrJoin(metadata, ",", pair), "}"));
  }
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const uint64_t end = offset + tensor.bytes.size();
    members.push_back(absl::StrCat(JsonString(name), ":{\"dtype\":\"", Describe(tensor.type).name, "\",\"shape\":[",
                                   absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", offset, ",", end, "]}"));
    offset = end;
  }
  std::string header = absl::StrCat("{", absl::StrJoin(members, ","), "}");
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

template <typename T>
std::vector<double> Widen(const std::string& bytes) {
  std::vector<T> narrow(bytes.size() / sizeof(T));
  if (!narrow.empty()) std::memcpy(narrow.data(), bytes.data(), narrow.size() * sizeof(T));
  return std::vector<double>(narrow.begin(), narrow.end());
}

template <typename T>
std::string Narrow(const std::vector<double>& values) {
  const std::vector<T> narrow(values.begin(), values.end());
  return std::string(reinterpret_cast<const char*>(narrow.data()), narrow.size() * sizeof(T));
}

}  // namespace

int64_t Tensor::elements() const {
  int64_t product = 1;
  for (int64_t extent : shape) product *= extent;
  return product;
}

Tensor Tensor::FromDoubles(Type type, std::vector<int64_t> shape, const std::vector<double>& values) {
  StopUnless(type == Type::kFloat32 || type == Type::kFloat64, "Tensor::FromDoubles makes float tensors only");
  Tensor tensor{type, std::move(shape), type == Type::kFloat32 ? Narrow<float>(values) : Narrow<double>(values)};
  StopUnless(tensor.elements() == static_cast<int64_t>(values.size()),
             "Tensor::FromDoubles: the values do not fill the shape");
  return tensor;
}

absl::StatusOr<std::vector<double>> Tensor::ToDoubles() const {
  if (type == Type::kFloat32) return Widen<float>(bytes);
  if (type == Type::kFloat64) return Widen<double>(bytes);
  return absl::InvalidArgumentError(absl::StrCat("the tensor is ", Describe(type).name, ", not F32 or F64"));
}

std::string WriteSafetensors(const TensorMap& tensors, const StringMap& metadata) {
  uint64_t data_bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    StopUnless(tensor.elements() * Describe(tensor.type).bytes == tensor.bytes.size() && name != kMetadata,
               "WriteSafetensors: a tensor's bytes do not fill its shape, or it is called __metadata__");
    data_bytes += tensor.bytes.size();
  }
  const std::string header = HeaderOf(tensors, metadata);
  const uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  out.reserve(8 + length + data_bytes);
  out += header;
  for (const auto& [name, tensor] : tensors) out += tensor.bytes;
  return out;
}

absl::StatusOr<TensorMap> ReadSafetensors(const std::string& bytes, StringMap* metadata) {
  if (bytes.size() < 8) {
    return absl::DataLossError(
        absl::StrCat("safetensors: ", bytes.size(), " bytes are too few for the header's length"));
  }
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMaxHeaderBytes) {
    return absl::DataLossError(
        absl::StrCat("safetensors: a header of ", length, " bytes is over the limit of ", kMaxHeaderBytes));
  }
  if (length > bytes.size() - 8) {
    return absl::DataLossError(absl::StrCat("safetensors: the header has ", length, " bytes but only ",
                                            bytes.size() - 8, " follow; the file is truncated"));
  }
  ASSIGN_OR_RETURN(Header header, ReadHeader(bytes, length));
  const uint64_t data = 8 + length;
  RETURN_IF_ERROR(CheckLayout(header, bytes.size() - data));
  TensorMap tensors;
  for (const auto& [name, entry] : header.tensors) {
    const uint64_t begin = (*entry.offsets)[0], end = (*entry.offsets)[1];
    tensors.emplace_hint(tensors.end(), name,
                         Tensor{entry.type->type, std::vector<int64_t>(entry.shape->begin(), entry.shape->end()),
                                bytes.substr(data + begin, end - begin)});
  }
  if (metadata != nullptr) *metadata = std::move(header.metadata);
  return tensors;
}

}  // namespace haarflow
