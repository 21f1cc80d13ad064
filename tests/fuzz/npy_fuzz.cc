// npy files: the input is split into the attributes (JSON), the fields and the table. A fuzzer does not write a header
// message by itself, so the first byte also chooses one of two that are good, with the fuzzer's two arrays.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/action/target.h"
#include "core/io/npy_file.h"

namespace {

std::string Attributes(bool matrices) {
  haarflow::v1::SampleHeader header;
  header.mutable_target()->mutable_lattice()->add_shape(2);
  header.mutable_target()->mutable_lattice()->add_shape(2);
  if (matrices) {
    header.mutable_target()->mutable_sun_wilson()->set_colours(2);
  } else {
    header.mutable_target()->mutable_u1_wilson()->set_beta(1);
  }
  header.set_model_digest(std::string(32, 'm'));
  header.set_target_digest(std::string(32, 't'));
  header.set_mode(haarflow::v1::SAMPLE_MODE_METROPOLIS);
  header.set_convention(haarflow::FieldConvention(header.target()));
  for (const int64_t extent : haarflow::FieldShape(header.target())) header.add_shape(static_cast<uint64_t>(extent));
  header.set_configuration_bytes(static_cast<uint64_t>(haarflow::FieldSize(header.target())) * sizeof(double));
  return absl::StrCat("{\"sha256\": \"\", \"header_message\": \"", absl::BytesToHexString(header.SerializeAsString()),
                      "\"}");
}

void Try(const std::string& json, const std::string& fields, const std::string& table) {
  haarflow::SampleAssembler assembler(/*keep_fields=*/true, /*foreign=*/true);
  haarflow::ReadNpyBytes(json, haarflow::MemorySource(fields), haarflow::MemorySource(table),
                         [&](const haarflow::v1::SampleResponse& message) {
                           return assembler.Add(message, [](const haarflow::SampleRow&) { return absl::OkStatus(); });
                         })
      .IgnoreError();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.empty()) return 0;
  const size_t second = bytes.find("\x93NUMPY", 1);
  const size_t third = second == std::string::npos ? second : bytes.find("\x93NUMPY", second + 1);
  if (third == std::string::npos) {
    Try(bytes, "", "");
    return 0;
  }
  const std::string fields = bytes.substr(second, third - second);
  Try(bytes.substr(0, second), fields, bytes.substr(third));
  Try(Attributes(bytes[0] % 2 != 0), fields, bytes.substr(third));
  return 0;
}
