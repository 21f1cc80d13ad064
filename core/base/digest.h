// SHA-256 for identity, CRC32C for transport.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace haarflow {

// A SHA-256. Compared and printed (64 hexadecimal digits); never truncated silently.
class Digest {
 public:
  static constexpr size_t kBytes = 32;

  Digest() = default;
  explicit Digest(const std::array<uint8_t, kBytes>& bytes) : bytes_(bytes) {}
  // `bytes` must be 32 bytes long; INVALID_ARGUMENT otherwise.
  static absl::StatusOr<Digest> FromBytes(const std::string& bytes);
  // 64 hexadecimal digits; INVALID_ARGUMENT otherwise.
  static absl::StatusOr<Digest> FromHex(const std::string& hex);

  std::string Bytes() const { return std::string(reinterpret_cast<const char*>(bytes_.data()), kBytes); }
  std::string Hex() const;
  // The first 12 hexadecimal digits, for people.
  std::string ShortHex() const { return Hex().substr(0, 12); }

  friend bool operator==(const Digest&, const Digest&) = default;
  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  std::array<uint8_t, kBytes> bytes_{};
};

// SHA-256 over everything added.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  Sha256& Update(const void* data, size_t size);
  Sha256& Update(const std::string& data) { return Update(data.data(), data.size()); }
  Digest Finish();

 private:
  void* context_;  // EVP_MD_CTX
};

Digest Sha256Of(const std::string& data);

// CRC-32C (Castagnoli, iSCSI) of `size` bytes; pass an earlier result to continue it.
uint32_t Crc32c(const void* data, size_t size, uint32_t crc = 0);

}  // namespace haarflow
