// ILDG and NERSC files of single fields: where every number lies, the sums, and what readers bear with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/base/file.h"
#include "core/io/ildg_file.h"
#include "core/io/lime.h"
#include "core/io/nersc_file.h"
#include "tests/reference/sun_reference.h"
#include "tests/unit/io_fake_run.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;
using testing::TestDirectory;

// Unequal in every direction: x 2, y 3, z 4, t 5.
constexpr int kX = 2, kY = 3, kZ = 4, kT = 5;
Lattice Unequal() { return GaugeLattice({kX, kY, kZ, kT}).value(); }

std::vector<double> RandomLinks(const Lattice& lattice, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  const reference::Shape shape(lattice.shape().begin(), lattice.shape().end());
  return reference::Numbers(reference::RandomSunField(shape, 3, &random));
}

double BigDouble(const char* bytes) {
  uint64_t word = 0;
  for (int i = 0; i < 8; ++i) word = word << 8 | static_cast<unsigned char>(bytes[i]);
  return std::bit_cast<double>(word);
}

template <typename Write>
std::string Written(const std::string& name, const Write& write) {
  const std::string path = TestDirectory(name) + "/a";
  auto out = OutputStream::Open(path);
  EXPECT_TRUE(out.ok());
  EXPECT_TRUE(write(&*out).ok());
  EXPECT_TRUE(out->Close().ok());
  return ReadFile(path, 1 << 30).value();
}
std::string Ildg(const Lattice& lattice, const std::vector<double>& links, const std::string& record = "") {
  return Written("ildg", [&](OutputStream* out) {
    return WriteIldg(lattice, links, {.lfn = "lfn://test", .info = "a < b & c", .record = record}, out);
  });
}
std::string Nersc(const Lattice& lattice, const std::vector<double>& links, int rows) {
  return Written("nersc", [&](OutputStream* out) { return WriteNersc(lattice, links, rows, {}, out); });
}
absl::StatusOr<GaugeConfiguration> FromIldg(const std::string& bytes) { return ReadIldg(MemorySource(bytes)); }
absl::StatusOr<GaugeConfiguration> FromNersc(const std::string& bytes) { return ReadNersc(MemorySource(bytes)); }

void ExpectDataLoss(const absl::StatusOr<GaugeConfiguration>& read, const std::string& what) {
  EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << read.status();
  EXPECT_THAT(std::string(read.status().message()), HasSubstr(what));
}

TEST(GaugeField, EveryLinkLiesWhereTheFormatsSay) {
  const Lattice lattice = Unequal();
  std::vector<double> cold(lattice.links() * kLinkNumbers, 0.0);
  for (size_t i = 0; i < cold.size(); i += kLinkNumbers) cold[i] = cold[i + 8] = cold[i + 16] = 1;
  for (int mu = 0; mu < 4; ++mu) {
    for (int64_t site = 0; site < lattice.volume(); ++site) {
      // In memory: C order [mu][t][z][y][x].
      std::vector<double> links = cold;
      for (int k = 0; k < kLinkNumbers; ++k) links[(mu * lattice.volume() + site) * kLinkNumbers + k] = 100 + k;
      const int64_t x = site % kX;
      const int64_t y = site / kX % kY;
      const int64_t z = site / (kX * kY) % kZ;
      const int64_t t = site / (kX * kY * kZ);
      const int64_t in_file = (x + kX * (y + kY * (z + kZ * t))) * 4 + mu;
      for (const int rows : {2, 3}) {
        const std::string bytes = SiteBytes(lattice, links, 0, lattice.volume(), rows);
        ASSERT_EQ(bytes.size(), static_cast<size_t>(lattice.volume() * 4 * rows * 48));
        for (int k = 0; k < 6 * rows; ++k) {
          ASSERT_EQ(BigDouble(bytes.data() + (in_file * 6 * rows + k) * 8), 100 + k) << mu << " " << site << " " << k;
        }
        FieldSums sums;
        const auto read = ReadField(MemorySource(bytes), 0, lattice, {.rows = rows}, &sums);
        ASSERT_TRUE(read.ok()) << read.status();
        const double* link = read->data() + (mu * lattice.volume() + site) * kLinkNumbers;
        for (int k = 0; k < 6 * rows; ++k) ASSERT_EQ(link[k], 100 + k);
        if (rows == 3) {
          ASSERT_EQ(*read, links);
        }
      }
    }
  }
}

TEST(GaugeField, Crc32IsTheOneOfZlib) { EXPECT_EQ(Crc32("123456789", 9), 0xCBF43926u); }

TEST(GaugeField, ThirdRowsAreRebuiltToRounding) {
  const Lattice lattice = Unequal();
  const std::vector<double> links = RandomLinks(lattice);
  EXPECT_LT(DistanceFromSu3(links), 1e-14);
  std::vector<double> rebuilt = links;
  RebuildThirdRows(&rebuilt);
  for (size_t i = 0; i < links.size(); ++i) ASSERT_NEAR(rebuilt[i], links[i], 1e-14);
  rebuilt[5] += 0.25;
  EXPECT_GT(DistanceFromSu3(rebuilt), 0.1);
}

TEST(GaugeField, TracesAreThoseOfThePlainLoops) {
  const Lattice lattice = Unequal();
  const reference::Shape shape(lattice.shape().begin(), lattice.shape().end());
  std::mt19937_64 random(3);
  const reference::SunField field = reference::RandomSunField(shape, 3, &random);
  double trace = 0;
  for (size_t i = 0; i < field.size(); i += 9) trace += (field[i] + field[i + 4] + field[i + 8]).real() / 3;
  const GaugeTraces traces = TracesOf(lattice, reference::Numbers(field));
  EXPECT_NEAR(traces.plaquette, reference::SunPlaquette(shape, 3, field), 1e-13);
  EXPECT_NEAR(traces.link_trace, trace / static_cast<double>(field.size() / 9), 1e-13);
}

// ---------------------------------------------------------------------------------------------------------------- ILDG

TEST(Ildg, RecordsStandInQiosOrderWithMatchingFlags) {
  const std::string bytes = Ildg(Unequal(), RandomLinks(Unequal()), "{}");
  const auto records = ReadLimeRecords(MemorySource(bytes));
  ASSERT_TRUE(records.ok()) << records.status();
  std::vector<std::string> types;
  std::string flags;
  for (const LimeRecord& record : *records) {
    types.push_back(record.type);
    absl::StrAppend(&flags, absl::Hex(static_cast<unsigned char>(bytes[record.offset - kLimeHeaderBytes + 6])), " ");
  }
  EXPECT_THAT(types, ::testing::ElementsAre("scidac-private-file-xml", "scidac-file-xml", "scidac-private-record-xml",
                                            "scidac-record-xml", "ildg-format", "ildg-data-lfn", "ildg-binary-data",
                                            "scidac-checksum", "haarflow-configuration"));
  EXPECT_EQ(flags, "80 40 80 0 0 0 0 40 c0 ");  // the end of a message is followed by the begin of the next
  EXPECT_EQ(bytes.size() % 8, 0u);
}

TEST(Ildg, ReadsWhatItWrites) {
  const std::vector<double> links = RandomLinks(Unequal());
  const auto read = FromIldg(Ildg(Unequal(), links, "{\"a\": 1}"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->shape, (std::vector<int64_t>{kT, kZ, kY, kX}));
  EXPECT_EQ(read->links, links);
  EXPECT_EQ(read->record, "{\"a\": 1}");
  EXPECT_EQ(read->precision, 64);
}

TEST(Ildg, AnyAlteredByteOfTheFieldIsFound) {
  const std::string bytes = Ildg(Unequal(), RandomLinks(Unequal()));
  const auto records = *ReadLimeRecords(MemorySource(bytes));
  for (size_t at = records[6].offset; at < records[6].offset + records[6].bytes; at += 997) {
    std::string altered = bytes;
    altered[at] = static_cast<char>(altered[at] ^ 1);
    ExpectDataLoss(FromIldg(altered), "altered");
  }
}

struct Record {
  std::string type;
  std::string text;
};
// A file as somebody else might write it.
std::string Lime(const std::vector<Record>& records, unsigned char flags = 0xC0) {
  std::string bytes;
  for (const Record& record : records) {
    std::string header = LimeHeader(record.type, record.text.size(), false, false);
    header[6] = static_cast<char>(flags);
    header[7] = static_cast<char>(flags == 0xFF ? 0xFF : 0);
    bytes += header + record.text + LimePadding(record.text.size());
  }
  return bytes;
}
std::string BareFormat(const std::string& field = "su3gauge", int precision = 64) {
  return absl::StrCat("<?xml version=\"1.0\"?><ildgFormat><version>1</version><field>", field, "</field><precision>",
                      precision, "</precision><lx>2</lx><ly> 3 </ly><lz>4</lz><lt>5</lt></ildgFormat>");
}
std::string Binary(const std::vector<double>& links) { return SiteBytes(Unequal(), links, 0, Unequal().volume(), 3); }

TEST(Ildg, BearsWithWhatOthersWrite) {
  const std::vector<double> links = RandomLinks(Unequal());
  const std::string data = Binary(links);
  const FieldSums sums = SumsOf(Unequal(), links, 3);
  const std::string checksum = absl::StrCat("<scidacChecksum><version>1.0</version><suma>0x", absl::Hex(sums.suma),
                                            "</suma><sumb>", absl::Hex(sums.sumb), " </sumb></scidacChecksum>");
  const GaugeTraces traces = TracesOf(Unequal(), links);
  const auto info = [&](double factor) {
    return absl::StrCat("<usqcdInfo><plaq>", factor * traces.plaquette, "</plaq><linktr>", factor * traces.link_trace,
                        "</linktr></usqcdInfo>");
  };
  const std::string prefixed =
      "<!-- <field>other</field> --><i:ildgFormat xmlns:i=\"http://www.lqcd.org/ildg\"><i:version>1.2</i:version>"
      "<i:field>\n su3gauge </i:field><i:precision>64</i:precision><i:lx>2</i:lx><i:ly>3</i:ly><i:lz>4</i:lz>"
      "<i:lt>5</i:lt></i:ildgFormat>";
  const Record binary = {"ildg-binary-data", data};
  const std::vector<std::pair<std::string, std::string>> files = {
      {"bare", Lime({{"ildg-format", BareFormat()}, binary})},
      {"blanks", Lime({{"ildg-format", BareFormat(" su3gauge ")}, binary})},
      {"namespace and comment", Lime({{"ildg-format", prefixed}, binary})},
      {"reserved bits", Lime({{"ildg-format", BareFormat()}, binary}, 0xFF)},
      {"no flags", Lime({{"ildg-format", BareFormat()}, binary}, 0)},
      {"unknown records", Lime({{"xlf-info", "plaquette = x"}, {"ildg-format", BareFormat()}, binary, {"mine", "?"}})},
      {"checksum", Lime({{"ildg-format", BareFormat()}, binary, {"scidac-checksum", checksum}})},
      {"format last", Lime({binary, {"ildg-format", BareFormat()}})},
      {"Re Tr / 3", Lime({{"ildg-format", BareFormat()}, binary, {"scidac-record-xml", info(1)}})},
      {"Re Tr", Lime({{"ildg-format", BareFormat()}, binary, {"scidac-record-xml", info(3)}})},
      {"no padding at the end",
       Lime({{"ildg-format", BareFormat()}, binary}) + LimeHeader("note", 3, false, false) + "abc"},
  };
  for (const auto& [name, bytes] : files) {
    const auto read = FromIldg(bytes);
    ASSERT_TRUE(read.ok()) << name << ": " << read.status();
    EXPECT_EQ(read->links, links) << name;
    EXPECT_EQ(read->record, "") << name;
  }
}

TEST(Ildg, SinglePrecisionIsRead) {
  const std::vector<double> links = RandomLinks(Unequal());
  std::string data;
  const std::string wide = Binary(links);
  for (size_t at = 0; at < wide.size(); at += 8) {
    const auto word = std::bit_cast<uint32_t>(static_cast<float>(BigDouble(wide.data() + at)));
    for (int shift = 24; shift >= 0; shift -= 8) data += static_cast<char>(word >> shift);
  }
  const auto read = FromIldg(Lime({{"ildg-format", BareFormat("su3gauge", 32)}, {"ildg-binary-data", data}}));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->precision, 32);
  for (size_t i = 0; i < links.size(); ++i) ASSERT_EQ(read->links[i], static_cast<float>(links[i]));
}

TEST(Ildg, WhatContradictsItselfIsRefused) {
  const std::vector<double> links = RandomLinks(Unequal());
  const Record format = {"ildg-format", BareFormat()};
  const Record binary = {"ildg-binary-data", Binary(links)};
  ExpectDataLoss(FromIldg(Lime({binary})), "ildg-format");
  ExpectDataLoss(FromIldg(Lime({format})), "ildg-binary-data");
  ExpectDataLoss(FromIldg(Lime({format, {"ildg-binary-data", binary.text.substr(8)}})), "bytes");
  ExpectDataLoss(FromIldg(Lime({format, binary}) + "trailing"), "cut");
  ExpectDataLoss(FromIldg(Lime({format, binary}).substr(0, 5000)), "claims");
  ExpectDataLoss(FromIldg(Lime({format, binary, {"scidac-checksum", "<suma>0</suma><sumb>0</sumb>"}})), "altered");
  ExpectDataLoss(FromIldg(Lime({format, binary, {"scidac-checksum", "<suma>zz</suma>"}})), "hexadecimal");
  ExpectDataLoss(FromIldg(Lime({format, binary, {"scidac-record-xml", "<plaq>0.5</plaq>"}})), "plaq");
  const auto with = [&](const std::string& from, const std::string& to) {
    return FromIldg(Lime({{"ildg-format", absl::StrReplaceAll(BareFormat(), {{from, to}})}, binary}));
  };
  EXPECT_EQ(with("su3gauge", "su2gauge").status().code(), absl::StatusCode::kUnimplemented);
  ExpectDataLoss(with("<lx>2", "<lx>-2"), "extent");
  ExpectDataLoss(with("<lt>5</lt>", ""), "lt");
  ExpectDataLoss(with("64", "80"), "80");
  EXPECT_FALSE(with("<lx>2", "<lx>9999999").ok());
  EXPECT_FALSE(with("<lx>2</lx>", "<lx>4096</lx>").ok());
  std::vector<double> spoilt = links;
  spoilt[17] = std::numeric_limits<double>::quiet_NaN();
  ExpectDataLoss(FromIldg(Lime({format, {"ildg-binary-data", Binary(spoilt)}})), "finite");
  EXPECT_EQ(FromIldg(Lime({format, binary, binary})).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(GaugeField, ADiskThatFillsUpIsSaid) {
  const Lattice lattice = Unequal();
  const std::vector<double> links = RandomLinks(lattice);
  for (const bool ildg : {true, false}) {
    auto out = OutputStream::Open("/dev/full");
    ASSERT_TRUE(out.ok()) << out.status();
    absl::Status status = ildg ? WriteIldg(lattice, links, {}, &*out) : WriteNersc(lattice, links, 2, {}, &*out);
    if (status.ok()) status = out->Close();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  }
}

TEST(Lime, LengthsAreBoundedBeforeTheyAreBelieved) {
  std::string header = LimeHeader("ildg-format", uint64_t{1} << 62, true, true);
  EXPECT_EQ(ReadLimeRecords(MemorySource(header + "x")).status().code(), absl::StatusCode::kDataLoss);
  header = LimeHeader("ildg-format", ~uint64_t{0}, true, true);
  EXPECT_EQ(ReadLimeRecords(MemorySource(header)).status().code(), absl::StatusCode::kDataLoss);
  std::string many;
  for (size_t i = 0; i <= kMaxLimeRecords; ++i) many += LimeHeader("", 0, false, false);
  EXPECT_EQ(ReadLimeRecords(MemorySource(many)).status().code(), absl::StatusCode::kDataLoss);
}

// --------------------------------------------------------------------------------------------------------------- NERSC

TEST(Nersc, ReadsWhatItWrites) {
  const std::vector<double> links = RandomLinks(Unequal());
  const auto three = FromNersc(Nersc(Unequal(), links, 3));
  ASSERT_TRUE(three.ok()) << three.status();
  EXPECT_EQ(three->links, links);
  EXPECT_EQ(three->shape, (std::vector<int64_t>{kT, kZ, kY, kX}));
  const auto two = FromNersc(Nersc(Unequal(), links, 2));
  ASSERT_TRUE(two.ok()) << two.status();
  std::vector<double> rebuilt = links;
  RebuildThirdRows(&rebuilt);
  EXPECT_EQ(two->links, rebuilt);
}

// The same file in another byte order or precision, with the checksum of its own bytes.
std::string Recast(const std::string& bytes, const std::string& numbers, bool big, bool wide) {
  const size_t data = bytes.find("END_HEADER\n") + 11;
  std::string field;
  uint32_t sum = 0;
  for (size_t at = data; at < bytes.size(); at += 8) {
    const double number = BigDouble(bytes.data() + at);
    uint64_t word = std::bit_cast<uint64_t>(number);
    const int size = wide ? 8 : 4;
    if (!wide) word = std::bit_cast<uint32_t>(static_cast<float>(number));
    sum += static_cast<uint32_t>(word) + static_cast<uint32_t>(wide ? word >> 32 : 0);
    for (int i = 0; i < size; ++i) field += static_cast<char>(word >> (8 * (big ? size - 1 - i : i)));
  }
  std::string header = bytes.substr(0, data);
  const size_t at = header.find("CHECKSUM = ");
  header.replace(at, header.find('\n', at) - at, absl::StrCat("CHECKSUM = 0x", absl::Hex(sum)));
  return absl::StrReplaceAll(header, {{"IEEE64BIG", numbers}}) + field;
}

TEST(Nersc, BothByteOrdersAndPrecisionsAreRead) {
  const std::vector<double> links = RandomLinks(Unequal());
  for (const int rows : {2, 3}) {
    const std::string bytes = Nersc(Unequal(), links, rows);
    std::vector<double> expected = links;
    if (rows == 2) RebuildThirdRows(&expected);
    for (const std::string numbers : {"IEEE64BIG", "IEEE64LITTLE", "IEEE64", "ieee64big"}) {
      for (const bool big : {true, false}) {
        if (numbers.size() > 6 && big != (numbers.back() != 'E')) continue;
        const auto read = FromNersc(Recast(bytes, numbers, big, true));
        ASSERT_TRUE(read.ok()) << numbers << " " << big << read.status();
        EXPECT_EQ(read->links, expected) << numbers << " " << big;
      }
    }
    for (const std::string numbers : {"IEEE32BIG", "IEEE32LITTLE", "IEEE32"}) {
      for (const bool big : {true, false}) {
        if (numbers.size() > 6 && big != (numbers.back() != 'E')) continue;
        const auto read = FromNersc(Recast(bytes, numbers, big, false));
        ASSERT_TRUE(read.ok()) << numbers << " " << big << read.status();
        EXPECT_EQ(read->precision, 32);
        for (size_t i = 0; i < links.size(); ++i) ASSERT_NEAR(read->links[i], expected[i], 2e-7);
      }
    }
  }
}

TEST(Nersc, WhatContradictsItselfIsRefused) {
  const std::string bytes = Nersc(Unequal(), RandomLinks(Unequal()), 3);
  const auto with = [&](const std::string& from, const std::string& to) {
    EXPECT_NE(bytes.find(from), std::string::npos) << from;
    return FromNersc(absl::StrReplaceAll(bytes, {{from, to}}));
  };
  for (size_t at = bytes.size() - 60000; at < bytes.size(); at += 997) {
    std::string altered = bytes;
    altered[at] = static_cast<char>(altered[at] ^ 1);
    ExpectDataLoss(FromNersc(altered), "CHECKSUM");
  }
  ExpectDataLoss(with("CHECKSUM = ", "CHECKSUM = 1"), "CHECKSUM");
  ExpectDataLoss(with("CHECKSUM = ", "OTHER = "), "CHECKSUM");
  ExpectDataLoss(with("PLAQUETTE = ", "PLAQUETTE = 1"), "PLAQUETTE");
  ExpectDataLoss(with("LINK_TRACE = ", "LINK_TRACE = 1"), "LINK_TRACE");
  ExpectDataLoss(with("LINK_TRACE = ", "LINK_TRACE = x"), "LINK_TRACE");
  ExpectDataLoss(with("DIMENSION_1 = 2", "DIMENSION_1 = 4"), "bytes");
  ExpectDataLoss(with("DIMENSION_4 = 5\n", ""), "DIMENSION_4");
  ExpectDataLoss(with("END_HEADER", "END_HEADEX"), "END_HEADER");
  ExpectDataLoss(FromNersc(bytes.substr(0, bytes.size() - 1)), "bytes");
  ExpectDataLoss(FromNersc(bytes + "x"), "bytes");
  ExpectDataLoss(FromNersc(""), "END_HEADER");
  EXPECT_EQ(with("4D_SU3_GAUGE_3x3", "4D_SU2_GAUGE").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(with("BOUNDARY_4 = PERIODIC", "BOUNDARY_4 = OPEN").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(with("IEEE64BIG", "VAXG").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_FALSE(with("DIMENSION_1 = 2", "DIMENSION_1 = 4096").ok());
  EXPECT_TRUE(with("\nHDR_VERSION = 1.0\n", "\r\nHDR_VERSION=1.0\r\nNO VALUE\r\n").ok());
  // Fewer digits bind less.
  const size_t at = bytes.find("PLAQUETTE = ") + 12;
  std::string rounded = bytes;
  rounded.replace(at, bytes.find('\n', at) - at, bytes.substr(at, bytes.find('.', at) + 4 - at));
  EXPECT_TRUE(FromNersc(rounded).ok()) << FromNersc(rounded).status();
}

}  // namespace
}  // namespace haarflow
