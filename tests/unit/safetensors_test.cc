// The safetensors reader takes bytes from anywhere: what it refuses it refuses by name, and it never takes more memory
// than it got.
#include "core/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;

std::string File(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

TensorMap SmallModel() {
  TensorMap tensors;
  tensors["b"] = Tensor::FromDoubles(Tensor::Type::kFloat32, {2, 1}, {1, -2});
  tensors["a"] = Tensor::FromDoubles(Tensor::Type::kFloat64, {}, {0.5});
  tensors["empty"] = Tensor{Tensor::Type::kInt64, {0, 3}, ""};
  tensors["raw"] = Tensor{Tensor::Type::kUint8, {3}, "xyz"};
  return tensors;
}

void ExpectSame(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_EQ(tensor.type, b.at(name).type) << name;
    EXPECT_EQ(tensor.shape, b.at(name).shape) << name;
    EXPECT_EQ(tensor.bytes, b.at(name).bytes) << name;
  }
}

TEST(SafetensorsTest, WhatIsWrittenReadsBack) {
  const StringMap metadata = {{"k", "v"}, {"quote\"", "line\nbreak"}};
  StringMap read_metadata;
  const auto read = ReadSafetensors(WriteSafetensors(SmallModel(), metadata), &read_metadata);
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectSame(*read, SmallModel());
  EXPECT_EQ(read_metadata, metadata);
}

TEST(SafetensorsTest, TheBytesAreThese) {
  TensorMap tensors;
  tensors["w"] = Tensor::FromDoubles(Tensor::Type::kFloat32, {2}, {1, 2});
  const std::string header =
      "{\"__metadata__\":{\"k\":\"v\"},\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}} ";
  ASSERT_EQ(header.size() % 8, 0);
  EXPECT_EQ(WriteSafetensors(tensors, {{"k", "v"}}), File(header, std::string("\0\0\x80\x3f\0\0\0\x40", 8)));
}

TEST(SafetensorsTest, AFileWithoutTensorsIsValid) {
  const auto read = ReadSafetensors(WriteSafetensors({}, {}));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->empty());
}

TEST(SafetensorsTest, TensorsMayLieInAnyOrder) {
  const auto read = ReadSafetensors(File(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},"b":{"data_offsets":[0,2],"shape":[2],"dtype":"U8"}})",
      "bba"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->at("a").bytes, "a");
  EXPECT_EQ(read->at("b").bytes, "bb");
}

TEST(SafetensorsTest, DoublesConvertBothWays) {
  const std::vector<double> values = {0, -1.5, std::numeric_limits<double>::infinity(), 0x1p-149};
  for (auto type : {Tensor::Type::kFloat32, Tensor::Type::kFloat64}) {
    EXPECT_EQ(*Tensor::FromDoubles(type, {2, 2}, values).ToDoubles(), values);
  }
  EXPECT_EQ(Tensor({Tensor::Type::kInt64, {0}, ""}).ToDoubles().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsDeathTest, AWriterThatContradictsItselfStops) {
  TensorMap tensors;
  tensors["w"] = Tensor{Tensor::Type::kFloat32, {2}, "1234"};
  EXPECT_DEATH(WriteSafetensors(tensors, {}), "do not fill its shape");
}

TEST(SafetensorsTest, EveryTruncationIsRefused) {
  const std::string file = WriteSafetensors(SmallModel(), {{"k", "v"}});
  for (size_t size = 0; size < file.size(); ++size) {
    const auto read = ReadSafetensors(file.substr(0, size));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << size;
  }
  EXPECT_THAT(ReadSafetensors(file + "x").status().message(), HasSubstr("1 bytes after the last tensor"));
}

TEST(SafetensorsTest, AHeaderLengthIsNotBelieved) {
  for (uint64_t length : {uint64_t{1} << 20, uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 8, (uint64_t{16} << 20) + 1}) {
    std::string file = WriteSafetensors(SmallModel(), {});
    std::memcpy(file.data(), &length, 8);
    EXPECT_EQ(ReadSafetensors(file).status().code(), absl::StatusCode::kDataLoss) << length;
  }
}

struct Refusal {
  const char* header;
  const char* message;
};

TEST(SafetensorsTest, BadHeadersAreRefusedByName) {
  const std::string four = "1234";
  const Refusal refusals[] = {
      {"", "begin with '{'"},
      {" {}", "begin with '{'"},
      {"[]", "begin with '{'"},
      {"{} x", "not JSON"},
      {"{", "not JSON"},
      {"{\"a\":1}", "'a': unexpected number"},
      {"{\"a\":null}", "unexpected null"},
      {"{\"a\":[{}]}", "unexpected array"},
      {"{\"a\":{\"shape\":{\"x\":{}}}}", "unexpected object"},
      {"{\"a\":{}}", "tensor 'a' lacks"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}", "tensor 'a' lacks"},
      {R"({"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})", "dtype 'BF16'"},
      {R"({"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "dtype twice"},
      {R"({"a":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}})", "shape twice"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"extra":1}})", "unknown field 'extra'"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
       "tensor 'a' is there twice"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0]}})", "needs 2 data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}})", "needs 2 data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", "run backwards"},
      {R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}})", "beyond the 4 bytes"},
      {R"({"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})", "negative number -4"},
      {R"({"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}})", "fraction"},
      {R"({"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,4]}})", "not JSON"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,4]}})", "U8[3], 3 bytes"},
      {R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", "overflows"},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", "overflows"},
      {R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,4]}})", "out of range"},
      {R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,4]}})", "more than 8"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       "tensor 'b' begins at byte 2, inside"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       "tensor 'b' begins at byte 2, leaving a gap"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       "inside"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", "1 bytes after the last tensor"},
      {R"({"__metadata__":{"k":1},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "unexpected number"},
      {R"({"__metadata__":{"k":"v","k":"w"},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "metadata key 'k'"},
      {R"({"__metadata__":{},"__metadata__":{},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       "__metadata__ is there twice"},
  };
  for (const Refusal& refusal : refusals) {
    const auto read = ReadSafetensors(File(refusal.header, four));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << refusal.header;
    EXPECT_THAT(read.status().message(), HasSubstr(refusal.message)) << refusal.header;
  }
}

TEST(SafetensorsTest, DepthAndCountsAreBounded) {
  EXPECT_FALSE(ReadSafetensors(File("{\"a\":" + std::string(1 << 20, '['), "")).ok());
  std::string many = "{";
  for (int i = 0; i < 70000; ++i)
    absl::StrAppend(&many, i ? "," : "", "\"", i, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}");
  EXPECT_THAT(ReadSafetensors(File(many + "}", "")).status().message(), HasSubstr("more than 65536 tensors"));
}

// Random bytes changed, inserted, removed: the reader answers, and what it accepts is consistent. Fixed seed: the same
// every time.
TEST(SafetensorsTest, MutatedFilesNeitherCrashNorLie) {
  const std::string good = WriteSafetensors(SmallModel(), {{"k", "v"}});
  std::mt19937_64 random(20240229);
  int accepted = 0;
  for (int round = 0; round < 10000; ++round) {
    std::string file = good;
    for (uint64_t edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % file.size();
      switch (random() % 4) {
        case 0:
          file[at] = static_cast<char>(random());
          break;
        case 1:
          file[at] ^= static_cast<char>(1 << random() % 8);
          break;
        case 2:
          file.insert(at, 1, "0123456789{}[],:\""[random() % 17]);
          break;
        default:
          file.erase(at, 1);
          break;
      }
    }
    const auto read = ReadSafetensors(file);
    if (!read.ok()) {
      ASSERT_EQ(read.status().code(), absl::StatusCode::kDataLoss);
      continue;
    }
    ++accepted;
    ExpectSame(*ReadSafetensors(WriteSafetensors(*read, {})), *read);
  }
  EXPECT_GT(accepted, 0);  // changed data bytes are not the format's business
  EXPECT_LT(accepted, 5000);
}

}  // namespace
}  // namespace haarflow
