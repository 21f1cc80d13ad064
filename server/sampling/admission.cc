#include "server/sampling/admission.h"

#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {

struct Bound {
  const char* reason;
  const char* what;
  const char* remedy;
  int64_t limit;
  int64_t held;
  int64_t asked;
};

}  // namespace

AdmissionDecision Admit(const AdmissionLimits& limits, const Usage& all, const Usage& principal, const Usage& request) {
  const Bound bounds[] = {
      {"streams", "streams of this server", "--max-streams", limits.all.streams, all.streams, request.streams},
      {"principal_streams", "streams of one caller", "--max-streams-per-principal", limits.principal.streams,
       principal.streams, request.streams},
      {"samples", "samples asked of this server at once", "--max-samples", limits.all.samples, all.samples,
       request.samples},
      {"principal_samples", "samples asked by one caller at once", "--max-samples-per-principal",
       limits.principal.samples, principal.samples, request.samples},
      {"bytes", "bytes of buffers of this server", "--byte-budget", limits.all.bytes, all.bytes, request.bytes},
      {"principal_bytes", "bytes of buffers of one caller", "--byte-budget-per-principal", limits.principal.bytes,
       principal.bytes, request.bytes},
  };
  for (const Bound& bound : bounds) {
    if (bound.limit == 0 || bound.asked <= bound.limit) continue;
    return {AdmissionDecision::kTooLarge, "too_large",
            absl::StrCat("the request needs ", bound.asked, " ", bound.what, ", the limit is ", bound.limit,
                         "; ask for less, or raise ", bound.remedy)};
  }
  for (const Bound& bound : bounds) {
    if (bound.limit == 0 || bound.held <= bound.limit - bound.asked) continue;
    return {AdmissionDecision::kComeBack, bound.reason,
            absl::StrCat("the server is full: ", bound.held, " of ", bound.limit, " ", bound.what,
                         " are taken and this request needs ", bound.asked, "; come back later")};
  }
  return {};
}

}  // namespace haarflow
