#include "core/io/gauge_field.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <complex>
#include <cstring>

#include "core/action/sun_wilson.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers of big-endian files are swapped");

constexpr int64_t kSitesAtOnce = 1024;
constexpr int64_t kMaxFieldBytes = int64_t{1} << 34;

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

double NumberAt(const char* bytes, const FieldLayout& layout) {
  if (layout.number_bytes == 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes, 8);
    return std::bit_cast<double>(layout.big_endian ? __builtin_bswap64(word) : word);
  }
  uint32_t word = 0;
  std::memcpy(&word, bytes, 4);
  return std::bit_cast<float>(layout.big_endian ? __builtin_bswap32(word) : word);
}

void RebuildThirdRow(double* link) {
  const auto at = [link](int row, int column) {
    return std::complex<double>(link[2 * (3 * row + column)], link[2 * (3 * row + column) + 1]);
  };
  for (int j = 0; j < 3; ++j) {
    const int k = (j + 1) % 3;
    const int l = (j + 2) % 3;
    const std::complex<double> cross = at(0, k) * at(1, l) - at(0, l) * at(1, k);
    link[2 * (6 + j)] = cross.real();
    link[2 * (6 + j) + 1] = -cross.imag();
  }
}

absl::Status CheckInside(const ByteSource& source, uint64_t offset, const Lattice& lattice, const FieldLayout& layout) {
  const uint64_t bytes = static_cast<uint64_t>(layout.site_bytes()) * static_cast<uint64_t>(lattice.volume());
  if (bytes <= source.size() && offset <= source.size() - bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("a field of ", bytes, " bytes at byte ", offset, " of ", source.size(),
                                          ": the file was cut, or says another size than it has"));
}

// Visits the stored bytes of all sites in order: visit(rank, bytes).
template <typename Visit>
absl::Status ForEachSite(const ByteSource& source, uint64_t offset, const Lattice& lattice, const FieldLayout& layout,
                         const Visit& visit) {
  const auto site_bytes = static_cast<uint64_t>(layout.site_bytes());
  std::vector<char> buffer(std::min<int64_t>(kSitesAtOnce, lattice.volume()) * layout.site_bytes());
  for (int64_t first = 0; first < lattice.volume(); first += kSitesAtOnce) {
    const int64_t sites = std::min(kSitesAtOnce, lattice.volume() - first);
    RETURN_IF_ERROR(source.Read(offset + first * site_bytes, sites * site_bytes, buffer.data()));
    for (int64_t i = 0; i < sites; ++i) RETURN_IF_ERROR(visit(first + i, buffer.data() + i * site_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

uint32_t Crc32(const char* bytes, size_t size) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < size; ++i) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(bytes[i])) & 0xFF];
  return ~crc;
}

void FieldSums::Add(uint64_t rank, const char* bytes, size_t size) {
  const uint32_t crc = Crc32(bytes, size);
  suma ^= std::rotl(crc, static_cast<int>(rank % 29));
  sumb ^= std::rotl(crc, static_cast<int>(rank % 31));
  for (size_t i = 0; i + 4 <= size; i += 4) {
    uint32_t word = 0;
    std::memcpy(&word, bytes + i, 4);
    words_little += word;
    words_big += __builtin_bswap32(word);
  }
}

GaugeTraces TracesOf(const Lattice& lattice, const std::vector<double>& links) {
  GaugeTraces traces;
  traces.plaquette = SunLoopSumsOf(lattice, 3, links.data(), /*rectangles=*/false).plaquettes /
                     (3 * static_cast<double>(lattice.plaquettes()));
  double sum = 0;
  for (size_t link = 0; link < links.size(); link += kLinkNumbers)
    sum += links[link] + links[link + 8] + links[link + 16];
  traces.link_trace = sum / (3 * static_cast<double>(lattice.links()));
  return traces;
}

absl::StatusOr<Lattice> GaugeLattice(const std::vector<int64_t>& extents) {
  ASSIGN_OR_RETURN(Lattice lattice, Lattice::Create({extents.rbegin(), extents.rend()}));
  if (lattice.dims() != 4) return absl::InvalidArgumentError("the lattice does not have four dimensions");
  const int64_t bytes = lattice.links() * kLinkNumbers * static_cast<int64_t>(sizeof(double));
  if (bytes > kMaxFieldBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a field of ", bytes, " bytes; at most 2^34 are read"));
  }
  return lattice;
}

absl::StatusOr<std::vector<double>> ReadField(const ByteSource& source, uint64_t offset, const Lattice& lattice,
                                              const FieldLayout& layout, FieldSums* sums) {
  RETURN_IF_ERROR(CheckInside(source, offset, lattice, layout));
  std::vector<double> links(lattice.links() * kLinkNumbers);
  const absl::Status status =
      ForEachSite(source, offset, lattice, layout, [&](int64_t site, const char* bytes) -> absl::Status {
        sums->Add(static_cast<uint64_t>(site), bytes, layout.site_bytes());
        const int64_t numbers = 6 * layout.rows;
        for (int mu = 0; mu < 4; ++mu) {
          double* link = links.data() + lattice.Link(mu, site) * kLinkNumbers;
          for (int64_t k = 0; k < numbers; ++k) {
            link[k] = NumberAt(bytes + (mu * numbers + k) * layout.number_bytes, layout);
            if (!std::isfinite(link[k])) {
              return absl::DataLossError(
                  absl::StrCat("link ", mu, " of site ", site, " has a number that is not finite"));
            }
          }
          if (layout.rows == 2) RebuildThirdRow(link);
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return links;
}

absl::StatusOr<FieldSums> SumField(const ByteSource& source, uint64_t offset, const Lattice& lattice,
                                   const FieldLayout& layout) {
  FieldSums sums;
  RETURN_IF_ERROR(CheckInside(source, offset, lattice, layout));
  RETURN_IF_ERROR(ForEachSite(source, offset, lattice, layout, [&](int64_t site, const char* bytes) {
    sums.Add(static_cast<uint64_t>(site), bytes, layout.site_bytes());
    return absl::OkStatus();
  }));
  return sums;
}

std::string SiteBytes(const Lattice& lattice, const std::vector<double>& links, int64_t first, int64_t last, int rows) {
  std::string bytes;
  bytes.reserve((last - first) * 4 * rows * 6 * sizeof(double));
  for (int64_t site = first; site < last; ++site) {
    for (int mu = 0; mu < 4; ++mu) {
      const double* link = links.data() + lattice.Link(mu, site) * kLinkNumbers;
      for (int k = 0; k < 6 * rows; ++k) {
        const uint64_t word = __builtin_bswap64(std::bit_cast<uint64_t>(link[k]));
        bytes.append(reinterpret_cast<const char*>(&word), sizeof word);
      }
    }
  }
  return bytes;
}

FieldSums SumsOf(const Lattice& lattice, const std::vector<double>& links, int rows) {
  FieldSums sums;
  for (int64_t site = 0; site < lattice.volume(); ++site) {
    const std::string bytes = SiteBytes(lattice, links, site, site + 1, rows);
    sums.Add(static_cast<uint64_t>(site), bytes.data(), bytes.size());
  }
  return sums;
}

void RebuildThirdRows(std::vector<double>* links) {
  for (size_t link = 0; link < links->size(); link += kLinkNumbers) RebuildThirdRow(links->data() + link);
}

double DistanceFromSu3(const std::vector<double>& links) {
  double distance = 0;
  for (size_t first = 0; first < links.size(); first += kLinkNumbers) {
    std::array<std::complex<double>, 9> u;
    for (int k = 0; k < 9; ++k) u[k] = {links[first + 2 * k], links[first + 2 * k + 1]};
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        std::complex<double> sum = i == j ? -1 : 0;
        for (int k = 0; k < 3; ++k) sum += u[3 * i + k] * std::conj(u[3 * j + k]);
        distance = std::max(distance, std::abs(sum));
      }
    }
    const std::complex<double> determinant =
        u[0] * (u[4] * u[8] - u[5] * u[7]) - u[1] * (u[3] * u[8] - u[5] * u[6]) + u[2] * (u[3] * u[7] - u[4] * u[6]);
    distance = std::max(distance, std::abs(determinant - 1.0));
  }
  return distance;
}

}  // namespace haarflow
