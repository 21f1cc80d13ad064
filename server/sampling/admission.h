// Whether a stream may begin: pure, table-tested.
//
// Bounded in streams, samples and bytes, for all together and for each principal (who called: a token's name, a
// certificate's, or an address). A refusal says which bound, so that metrics can count it and the client knows whether
// coming back helps.
#pragma once

#include <cstdint>
#include <string>

namespace haarflow {

// What streams hold, or may hold. Limits of 0 do not bound.
struct Usage {
  int64_t streams = 0;
  int64_t samples = 0;  // chain steps and proposals asked for
  int64_t bytes = 0;    // buffers: chunks waiting and on the wire, open configurations, kept measurements
};

struct AdmissionLimits {
  Usage all;
  Usage principal;
};

struct AdmissionDecision {
  enum Kind {
    kAdmit,
    kComeBack,  // full now
    kTooLarge,  // never fits
  };
  Kind kind = kAdmit;
  const char* reason = "";  // label of haarflow_rejected_total
  std::string message;
};

// `all`, `principal`: what is held now. `request`: one stream with its samples and bytes.
AdmissionDecision Admit(const AdmissionLimits& limits, const Usage& all, const Usage& principal, const Usage& request);

}  // namespace haarflow
