// Requests for re-tuning, as bytes and as text. One that is planned names a start, a model name that the store takes,
// and a spec that validates; planned again it is the same. A request that CheckRetuneRequest refuses is never planned.
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/text_format.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/model/spec.h"
#include "server/jobs/retune_plan.h"

namespace {

haarflow::RetuneCandidate Candidate(const std::string& name, const std::string& rest) {
  haarflow::RetuneCandidate candidate;
  const auto spec = haarflow::ParseSpec("name: \"" + name + "\" spec_version: 1 " + rest);
  if (!spec.ok()) std::abort();
  candidate.spec = *spec;
  candidate.manifest.model = name;
  candidate.manifest.version = 1;
  candidate.champion = true;
  return candidate;
}

const std::vector<haarflow::RetuneCandidate>& Candidates() {
  static const auto* candidates = new std::vector<haarflow::RetuneCandidate>{
      Candidate("free",
                "target { lattice { shape: 4 shape: 4 } phi4 { mass { m2: 1 lambda: 0.5 } } } "
                "prior { free_field { m2: 1 } } training { seed: 1 evaluation_samples: 8192 phases { steps: 10 "
                "batch: 16 learning_rate: 0.01 estimator: GRADIENT_ESTIMATOR_PATH } }"),
      Candidate("flat", "target { lattice { shape: 4 shape: 4 } u1_wilson { beta: 1 } } prior { uniform {} }")};
  return *candidates;
}

void Try(const haarflow::v1::RetuneRequest& request) {
  const bool good = haarflow::CheckRetuneRequest(request).ok();
  const auto plan = haarflow::PlanRetune(Candidates(), request);
  if (!plan.ok()) return;
  if (!good || plan->publish_model.empty() || plan->start_version != 1) std::abort();
  for (const auto& candidate : Candidates()) {
    if (candidate.manifest.model != plan->start_model) continue;
    const auto spec = haarflow::RetunedSpec(candidate.spec, plan->publish_model, plan->request.target());
    std::string text;
    if (spec.ok() && google::protobuf::TextFormat::PrintToString(*spec, &text) && !haarflow::ParseSpec(text).ok()) {
      std::abort();
    }
  }
  const auto again = haarflow::PlanRetune(Candidates(), plan->request);
  if (!again.ok() || haarflow::CanonicalRequest(again->request) != haarflow::CanonicalRequest(plan->request)) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  [[maybe_unused]] static const auto loud = google::protobuf::SetLogHandler(nullptr);
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  haarflow::v1::RetuneRequest request;
  if (request.ParseFromString(bytes)) Try(request);
  google::protobuf::TextFormat::Parser parser;
  struct Quiet : google::protobuf::io::ErrorCollector {
    void AddError(int, int, const std::string&) override {}
  } quiet;
  parser.RecordErrorsTo(&quiet);
  request.Clear();
  if (parser.ParseFromString(bytes, &request)) Try(request);
  return 0;
}
