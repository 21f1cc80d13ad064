#include "tests/unit/io_fake_run.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "core/action/target.h"
#include "core/base/digest.h"
#include "tests/reference/sun_reference.h"

namespace haarflow::testing {

std::vector<int64_t> FakeRun::Shape() const {
  std::vector<int64_t> shape(options_.lattice.begin(), options_.lattice.end());
  if (options_.scalar_components == 0) shape.insert(shape.begin(), static_cast<int64_t>(options_.lattice.size()));
  if (options_.scalar_components == 2) shape.insert(shape.begin(), 2);
  if (options_.colours > 0) shape.insert(shape.end(), {options_.colours, options_.colours, 2});
  return shape;
}

int64_t FakeRun::numbers() const {
  int64_t n = 1;
  for (const int64_t extent : Shape()) n *= extent;
  return n;
}

size_t FakeRun::configuration_bytes() const {
  return static_cast<size_t>(numbers()) * (options_.precision == v1::FIELD_PRECISION_FLOAT32 ? 4 : 8);
}

double FakeRun::Number(uint64_t k, int64_t i) const {
  return std::remainder(0.1 * static_cast<double>(i * i) + 1.7 * static_cast<double>(k), 2 * M_PI);
}

v1::SampleHeader FakeRun::Header(uint64_t count) const {
  v1::SampleHeader header;
  header.set_model("fake");
  header.set_version(3);
  header.set_model_digest(Sha256Of("fake model").Bytes());
  v1::Target* target = header.mutable_target();
  for (const uint32_t extent : options_.lattice) target->mutable_lattice()->add_shape(extent);
  if (options_.colours > 0) {
    target->mutable_sun_wilson()->set_colours(static_cast<uint32_t>(options_.colours));
    target->mutable_sun_wilson()->set_beta(5);
  } else if (options_.scalar_components == 0) {
    target->mutable_u1_wilson()->set_beta(2);
  } else {
    target->mutable_phi4()->set_components(static_cast<uint32_t>(options_.scalar_components));
    target->mutable_phi4()->mutable_mass()->set_m2(-4);
    target->mutable_phi4()->mutable_mass()->set_lambda(8);
  }
  header.set_target_digest(TargetDigest(*target).Bytes());
  header.set_numerics_class("fake-1");
  header.set_mode(options_.mode);
  header.set_seed(options_.seed);
  header.set_next_index(10);
  header.set_count(count);
  header.set_precision(options_.precision);
  for (const int64_t extent : Shape()) header.add_shape(static_cast<uint64_t>(extent));
  header.set_configuration_bytes(options_.omit_fields ? 0 : configuration_bytes());
  for (const std::string& name : options_.observables) header.add_observables(name);
  header.set_convention(options_.colours > 0 ? 3 : options_.scalar_components == 0 ? 1 : 2);
  return header;
}

uint64_t FakeRun::IndexOf(uint64_t k) const { return 10 + (options_.mode == v1::SAMPLE_MODE_REWEIGHTED ? k : 3 * k); }
uint64_t FakeRun::MultiplicityOf(uint64_t k) const {
  return options_.mode == v1::SAMPLE_MODE_REWEIGHTED ? 1 : 1 + k % 3;
}

uint64_t FakeRun::StepsOf(uint64_t first, uint64_t last) const {
  uint64_t steps = 0;
  for (uint64_t k = first; k < last; ++k) steps += MultiplicityOf(k);
  return steps;
}

std::vector<double> FakeRun::Numbers(uint64_t k) const {
  if (options_.colours > 0) {
    std::mt19937_64 random(k);
    const reference::Shape lattice(options_.lattice.begin(), options_.lattice.end());
    return reference::Numbers(reference::RandomSunField(lattice, options_.colours, &random));
  }
  std::vector<double> numbers_of_k;
  for (int64_t i = 0; i < numbers(); ++i) numbers_of_k.push_back(Number(k, i));
  return numbers_of_k;
}

std::string FakeRun::Field(uint64_t k) const {
  std::string bytes;
  for (const double value : Numbers(k)) {
    const auto rounded = static_cast<float>(value);
    if (options_.precision == v1::FIELD_PRECISION_FLOAT32) {
      bytes.append(reinterpret_cast<const char*>(&rounded), sizeof rounded);
    } else {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  return bytes;
}

double FakeRun::FirstObservable(uint64_t k) const {
  if (options_.colours > 0) {
    std::mt19937_64 random(k);
    const reference::Shape lattice(options_.lattice.begin(), options_.lattice.end());
    return reference::SunPlaquette(lattice, options_.colours,
                                   reference::RandomSunField(lattice, options_.colours, &random));
  }
  if (options_.scalar_components == 0) return Plaquette(k);
  double sum = 0;
  for (int64_t i = 0; i < numbers(); ++i) sum += Number(k, i) * Number(k, i);
  return sum * options_.scalar_components / static_cast<double>(numbers());
}

double FakeRun::Plaquette(uint64_t k) const {
  if (options_.lattice.size() != 2) return 0;
  const int64_t nt = options_.lattice[0];
  const int64_t nx = options_.lattice[1];
  const auto at = [&](int64_t mu, int64_t t, int64_t x) { return Number(k, (mu * nt + t % nt) * nx + x % nx); };
  double sum = 0;
  for (int64_t t = 0; t < nt; ++t) {
    for (int64_t x = 0; x < nx; ++x) sum += std::cos(at(0, t, x) + at(1, t, x + 1) - at(0, t + 1, x) - at(1, t, x));
  }
  return sum / static_cast<double>(nt * nx);
}

v1::ChainStatistics FakeRun::Statistics(uint64_t last) const {
  v1::ChainStatistics statistics;
  statistics.set_steps(StepsOf(0, last));
  statistics.set_proposals(StepsOf(0, last));
  statistics.set_accepted(last);
  v1::EnsembleQuality* quality = statistics.mutable_quality();
  quality->set_samples(StepsOf(0, last));
  quality->set_ess(0.75);
  quality->set_acceptance(0.5);
  quality->set_reliable(false);
  quality->set_unreliable_reason("made up");
  statistics.set_log_z(99.5);
  statistics.set_log_z_error(0.125);
  return statistics;
}

v1::SampleResponse FakeRun::Chunk(uint64_t first, uint64_t last) const {
  v1::SampleResponse message;
  v1::SampleChunk* chunk = message.mutable_chunk();
  for (size_t i = 0; i < options_.observables.size(); ++i) chunk->add_observables();
  for (uint64_t k = first; k < last; ++k) {
    chunk->add_index(IndexOf(k));
    if (options_.mode != v1::SAMPLE_MODE_REWEIGHTED) chunk->add_multiplicity(MultiplicityOf(k));
    chunk->add_log_weight(-Action(k) - LogQ(k));
    chunk->add_log_q(LogQ(k));
    chunk->add_action(Action(k));
    for (int i = 0; i < chunk->observables_size(); ++i) {
      chunk->mutable_observables(i)->add_value(i == 0 ? FirstObservable(k) : static_cast<double>(k));
    }
    if (!options_.omit_fields) *chunk->mutable_payload() += Field(k);
  }
  chunk->set_payload_total(chunk->payload().size());
  chunk->set_crc32c(Crc32c(chunk->payload().data(), chunk->payload().size()));
  chunk->set_resume_token(absl::StrCat("k=", last));
  *chunk->mutable_statistics() = Statistics(last);
  return message;
}

v1::SampleResponse FakeRun::Summary(uint64_t last, bool complete) const {
  v1::SampleResponse message;
  *message.mutable_summary()->mutable_statistics() = Statistics(last);
  message.mutable_summary()->set_resume_token(absl::StrCat("k=", last));
  message.mutable_summary()->set_complete(complete);
  return message;
}

std::vector<v1::SampleResponse> FakeRun::Stream(uint64_t n, uint64_t per_chunk) const {
  std::vector<v1::SampleResponse> stream(1);
  *stream[0].mutable_header() = Header(StepsOf(0, n));
  for (uint64_t k = 0; k < n; k += per_chunk) stream.push_back(Chunk(k, std::min(n, k + per_chunk)));
  stream.push_back(Summary(n, /*complete=*/true));
  return stream;
}

std::string TestDirectory(const std::string& name) {
  const auto path = std::filesystem::path(::testing::TempDir()) / absl::StrCat("haarflow_", ::getpid(), "_", name);
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path.string();
}

}  // namespace haarflow::testing
