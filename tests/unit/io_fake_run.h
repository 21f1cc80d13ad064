// Made-up runs for tests of files and of the client: a valid stream whose every number is known from its index.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "haarflow/v1/sampler.pb.h"

namespace haarflow::testing {

struct FakeRunOptions {
  v1::SampleMode mode = v1::SAMPLE_MODE_METROPOLIS;
  v1::FieldPrecision precision = v1::FIELD_PRECISION_FLOAT64;
  std::vector<uint32_t> lattice = {4, 6};  // t, x: unequal on purpose
  std::vector<std::string> observables = {"plaquette", "charge_squared"};
  uint64_t seed = 0x123456789ABCDEFull;
  bool omit_fields = false;
  int scalar_components = 0;  // 0: links; 1 or 2: phi^4
  int colours = 0;            // of links: 0 is U(1); 2 or 3 SU(N), random matrices
};

// The chain of a fake run: configuration k has index 10 + 3 k and multiplicity 1 + k % 3 (REWEIGHTED: index 10 + k).
class FakeRun {
 public:
  explicit FakeRun(const FakeRunOptions& options) : options_(options) {}

  v1::SampleHeader Header(uint64_t count) const;
  uint64_t IndexOf(uint64_t k) const;
  uint64_t MultiplicityOf(uint64_t k) const;
  double LogQ(uint64_t k) const { return -100.0 - 0.5 * static_cast<double>(k); }
  double Action(uint64_t k) const { return -200.0 + 0.25 * static_cast<double>(k); }
  // Little-endian numbers.
  std::string Field(uint64_t k) const;
  // By plain loops, links: the mean of cos theta_P or Re Tr P / N; scalars: the mean of phi^2. The second observable is
  // k.
  double FirstObservable(uint64_t k) const;
  size_t configuration_bytes() const;

  // Configurations [first, last). The token is the text "k=LAST".
  v1::SampleResponse Chunk(uint64_t first, uint64_t last) const;
  v1::SampleResponse Summary(uint64_t last, bool complete) const;
  // Header, chunks of `per_chunk`, summary: n configurations.
  std::vector<v1::SampleResponse> Stream(uint64_t n, uint64_t per_chunk) const;
  uint64_t StepsOf(uint64_t first, uint64_t last) const;
  v1::ChainStatistics Statistics(uint64_t last) const;

 private:
  double Number(uint64_t k, int64_t i) const;
  std::vector<double> Numbers(uint64_t k) const;
  std::vector<int64_t> Shape() const;
  int64_t numbers() const;
  double Plaquette(uint64_t k) const;
  FakeRunOptions options_;
};

// A new empty directory under the test's temporary directory.
std::string TestDirectory(const std::string& name);

}  // namespace haarflow::testing
