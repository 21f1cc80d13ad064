#include "core/model/sampler.h"

namespace haarflow {

void Proposals::Resize(int64_t count, int64_t links_per_configuration) {
  n = count;
  links = links_per_configuration;
  field.resize(count * links);
  log_q.resize(count);
  action.resize(count);
}

}  // namespace haarflow
