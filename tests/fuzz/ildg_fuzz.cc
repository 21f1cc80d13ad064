// LIME and ILDG files. What is read has the size that its lattice says and finite numbers; its record, ours or the
// fuzzer's, makes messages that an assembler accepts or refuses.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/io/gauge_run.h"
#include "core/io/ildg_file.h"
#include "core/io/lime.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const haarflow::MemorySource source(std::string(reinterpret_cast<const char*>(data), size));
  if (const auto records = haarflow::ReadLimeRecords(source); records.ok()) {
    for (const auto& record : *records) {
      if (record.offset > size || record.bytes > size - record.offset) std::abort();
    }
  }
  const auto read = haarflow::ReadIldg(source);
  if (!read.ok()) return 0;
  size_t numbers = 4 * haarflow::kLinkNumbers;
  for (const int64_t extent : read->shape) numbers *= static_cast<size_t>(extent);
  if (read->shape.size() != 4 || read->links.size() != numbers) std::abort();
  for (const double number : read->links) {
    if (!std::isfinite(number)) std::abort();
  }
  haarflow::SampleAssembler assembler(/*keep_fields=*/true, /*foreign=*/true);
  haarflow::GaugeMessages(*read, 0, [&](const haarflow::v1::SampleResponse& message) {
    return assembler.Add(message, [](const haarflow::SampleRow&) { return absl::OkStatus(); });
  }).IgnoreError();
  return 0;
}
