#include "core/base/digest.h"

#include <openssl/evp.h>

#include <cstring>

#include "absl/strings/escaping.h"
#include "core/base/status.h"

namespace haarflow {

absl::StatusOr<Digest> Digest::FromBytes(const std::string& bytes) {
  if (bytes.size() != kBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a digest has 32 bytes, not ", bytes.size()));
  }
  std::array<uint8_t, kBytes> array;
  std::memcpy(array.data(), bytes.data(), kBytes);
  return Digest(array);
}

absl::StatusOr<Digest> Digest::FromHex(const std::string& hex) {
  const bool all_hex = hex.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  if (hex.size() != 2 * kBytes || !all_hex) {
    return absl::InvalidArgumentError(
        absl::StrCat("a digest is written as 64 hexadecimal digits, not '", hex.substr(0, 80), "'"));
  }
  return FromBytes(absl::HexStringToBytes(hex));
}

std::string Digest::Hex() const { return absl::BytesToHexString(Bytes()); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr);
}

Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

Sha256& Sha256::Update(const void* data, size_t size) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), data, size);
  return *this;
}

Digest Sha256::Finish() {
  std::array<uint8_t, Digest::kBytes> bytes;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), bytes.data(), nullptr);
  return Digest(bytes);
}

Digest Sha256Of(const std::string& data) { return Sha256().Update(data).Finish(); }

namespace {

// Slicing by 8: kTable[k][b] is the CRC of byte b followed by k zero bytes.
constexpr auto MakeTable() {
  std::array<std::array<uint32_t, 256>, 8> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
    table[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      table[k][byte] = (table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 0xFF];
    }
  }
  return table;
}
constexpr auto kTable = MakeTable();

}  // namespace

uint32_t Crc32c(const void* data, size_t size, uint32_t crc) {
  const auto* p = static_cast<const uint8_t*>(data);
  crc = ~crc;
  for (; size >= 8; size -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    word ^= crc;
    crc = 0;
    for (size_t k = 0; k < 8; ++k) crc ^= kTable[7 - k][(word >> (8 * k)) & 0xFF];
  }
  for (; size > 0; --size, ++p) crc = (crc >> 8) ^ kTable[0][(crc ^ *p) & 0xFF];
  return ~crc;
}

}  // namespace haarflow
