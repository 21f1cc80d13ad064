#include "core/model/sampler.h"

namespace haarflow {

void Proposals::Resize(int64_t count, int64_t size_of_field) {
  n = count;
  field_size = size_of_field;
  field.resize(count * field_size);
  log_q.resize(count);
  action.resize(count);
}

}  // namespace haarflow
