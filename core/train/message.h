// What ranks of one program send each other: plain values, one after the other, in the machine's own byte order.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace haarflow {

class Packer {
 public:
  template <class T>
  Packer& Add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Packer& AddText(const std::string& text) {
    Add<uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  Packer& AddDoubles(absl::Span<const double> values) {
    Add<uint64_t>(values.size());
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
    return *this;
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads in the order of writing. Past the end everything is empty, and ok() is false.
class Unpacker {
 public:
  explicit Unpacker(const std::string& bytes) : bytes_(bytes) {}
  template <class T>
  T Take() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (Has(sizeof value)) std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string TakeText() {
    const auto size = Take<uint64_t>();
    if (!Has(size)) return "";
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  std::vector<double> TakeDoubles() {
    const auto n = Take<uint64_t>();
    if (n > bytes_.size() || !Has(n * sizeof(double))) {
      ok_ = false;
      return {};
    }
    std::vector<double> values(n);
    if (n > 0) std::memcpy(values.data(), bytes_.data() + at_, n * sizeof(double));
    at_ += n * sizeof(double);
    return values;
  }
  bool good() const { return ok_; }  // so far
  // Everything was there, and has been read.
  bool ok() const { return ok_ && at_ == bytes_.size(); }

 private:
  bool Has(uint64_t n) {
    ok_ = ok_ && at_ <= bytes_.size() && n <= bytes_.size() - at_;
    return ok_;
  }

  const std::string& bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace haarflow
