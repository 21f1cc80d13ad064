// Chunks of uploads as a trainer may send them: mostly in order, sometimes not. What is accepted is what a plain loop
// puts together; nothing is kept beyond the bounds; the budget is whole again afterwards.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/base/digest.h"
#include "server/jobs/upload.h"

namespace {

constexpr uint64_t kBudget = 4096;
constexpr uint64_t kLargest = 3000;
const std::vector<haarflow::UploadFile> kFiles = {{"spec.txtpb", 64}, {"weights", kLargest}, {"card", 0}};

// Reads the input as numbers; zeros after its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint64_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint64_t Word() {
    uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word = word << 8 | Byte();
    return word;
  }
  std::string Bytes(size_t n) {
    n = n < left_ ? n : left_;
    std::string bytes(reinterpret_cast<const char*>(data_), n);
    data_ += n;
    left_ -= n;
    return bytes;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  haarflow::UploadBudget budget(kBudget);
  {
    Input input(data, size);
    haarflow::UploadAssembler upload(kFiles, &budget);
    std::vector<std::string> files;  // by the plain loop
    uint64_t total = 0;
    bool open = false;
    while (!input.empty()) {
      const uint64_t change = input.Byte();
      if (!open) total = input.Byte() * 16 + input.Byte();
      haarflow::v1::FileChunk chunk;
      const size_t number = open ? files.size() - 1 : files.size();
      chunk.set_file(number < kFiles.size() ? kFiles[number].name : "more");
      chunk.set_payload(input.Bytes(input.Byte()));
      chunk.set_offset(open ? files.back().size() : 0);
      chunk.set_total(total);
      chunk.set_crc32c(haarflow::Crc32c(chunk.payload().data(), chunk.payload().size()));
      if ((change & 15) == 1) chunk.set_file(input.Bytes(4));
      if ((change & 15) == 2) chunk.set_offset(input.Word());
      if ((change & 15) == 3) chunk.set_total(input.Word());
      if ((change & 15) == 4) chunk.set_crc32c(static_cast<uint32_t>(input.Word()));
      if (!upload.Add(chunk).ok()) break;
      if (!open) files.emplace_back();
      files.back() += chunk.payload();
      total = chunk.total();
      open = files.back().size() < total;
      if (files.size() > kFiles.size() || files.back().size() > kFiles[files.size() - 1].max_bytes) std::abort();
      if (files.back().size() > total) std::abort();
    }
    const auto finished = upload.Finish();
    if (finished.ok() && (open || *finished != files || files.size() != kFiles.size())) std::abort();
  }
  if (!budget.Take(kBudget)) std::abort();
  return 0;
}
