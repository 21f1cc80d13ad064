// One SU(3) gauge field in four dimensions, as ILDG and NERSC files hold it, and the sums that they carry.
//
// In memory: [mu, t, z, y, x, row, column, 2] float64 (core/lattice/lattice.h). In files: sites x fastest, t slowest;
// at each site mu = x, y, z, t; each link by rows, real part before imaginary part: [t, z, y, x, mu, row, column, 2].
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/io/byte_source.h"
#include "core/lattice/lattice.h"

namespace haarflow {

constexpr int kLinkNumbers = 18;

// A field with what stands beside it in its file.
struct GaugeConfiguration {
  std::vector<int64_t> shape;  // [t, z, y, x]
  std::vector<double> links;   // volume x 72 numbers
  int precision = 64;          // of the file's numbers
  std::string record;          // haarflow's own record (core/io/configuration_record.h); empty: a file of somebody else
};

// Means of Re Tr / 3: 1 on the cold field.
struct GaugeTraces {
  double plaquette = 0;
  double link_trace = 0;
};
GaugeTraces TracesOf(const Lattice& lattice, const std::vector<double>& links);

// The sums that files carry, over their stored bytes.
struct FieldSums {
  // QIO's: exclusive or of CRC-32 of the bytes of each site's four links, rotated by rank mod 29 and mod 31.
  uint32_t suma = 0;
  uint32_t sumb = 0;
  // NERSC's: the sum of all 32-bit words, read as big-endian and as little-endian.
  uint32_t words_big = 0;
  uint32_t words_little = 0;

  // The bytes of the site of this rank, as stored.
  void Add(uint64_t rank, const char* bytes, size_t size);
};

// zlib's CRC-32.
uint32_t Crc32(const char* bytes, size_t size);

// How numbers lie in a file.
struct FieldLayout {
  bool big_endian = true;
  int number_bytes = 8;  // or 4
  int rows = 3;          // or 2: the third is the complex conjugate of the cross product of the first two
  int64_t site_bytes() const { return 4 * rows * 6 * number_bytes; }
};

// Sizes of a field as files write them, "x y z t": INVALID_ARGUMENT as for Lattice::Create, or where the field would be
// larger than 2^34 bytes. `extents` in the order x, y, z, t.
absl::StatusOr<Lattice> GaugeLattice(const std::vector<int64_t>& extents);

// Reads the field at `offset`, which must lie within `source` (checked before anything is allocated). Numbers that are
// not finite are DATA_LOSS.
absl::StatusOr<std::vector<double>> ReadField(const ByteSource& source, uint64_t offset, const Lattice& lattice,
                                              const FieldLayout& layout, FieldSums* sums);
// The sums alone.
absl::StatusOr<FieldSums> SumField(const ByteSource& source, uint64_t offset, const Lattice& lattice,
                                   const FieldLayout& layout);

// The bytes of the sites [first, last), for writing; big-endian float64.
std::string SiteBytes(const Lattice& lattice, const std::vector<double>& links, int64_t first, int64_t last, int rows);
// The sums of what SiteBytes gives for all sites.
FieldSums SumsOf(const Lattice& lattice, const std::vector<double>& links, int rows);

// Every third row as a reader of two rows makes it: the complex conjugate of the cross product of the others.
void RebuildThirdRows(std::vector<double>* links);
// The largest |(U U^+ - 1)_ij| and |det U - 1| of all links.
double DistanceFromSu3(const std::vector<double>& links);

}  // namespace haarflow
