#include "core/kernel/tiles.h"

#include <algorithm>

#include "core/kernel/cpu/loop_isa.h"

namespace haarflow::kernel {

void HalfToField(int32_t colours, int32_t links, const double* matrices, int half, double* field) {
  // SU(2) matrices w_0 + i w.sigma: rows [w_0 + i w_3, w_2 + i w_1], [-w_2 + i w_1, w_0 - i w_3].
  static constexpr int kRow[8] = {0, 3, 2, 1, 2, 1, 0, 3};
  static constexpr double kSign[8] = {1, 1, 1, 1, -1, 1, 1, -1};
  const int64_t numbers = colours == 2 ? 4 : 18, size = int64_t{2} * colours * colours;
  for (int64_t link = 0; link < links; ++link) {
    for (int64_t r = 0; r < size; ++r) {
      const int64_t from = colours == 2 ? kRow[r] : r;
      const double sign = colours == 2 ? kSign[r] : 1;
      for (int i = 0; i < kMatrixLanes; ++i) {
        field[(link * size + r) * kTile + half * kMatrixLanes + i] =
            sign * matrices[(link * numbers + from) * kMatrixLanes + i];
      }
    }
  }
}

void HalfFromField(int32_t colours, int32_t links, const double* field, int half, double* matrices) {
  static constexpr int kRow[4] = {0, 3, 2, 1};  // of the field, for w_0 .. w_3
  const int64_t numbers = colours == 2 ? 4 : 18, size = int64_t{2} * colours * colours;
  for (int64_t link = 0; link < links; ++link) {
    for (int64_t r = 0; r < numbers; ++r) {
      const int64_t from = colours == 2 ? kRow[r] : r;
      for (int i = 0; i < kMatrixLanes; ++i) {
        matrices[(link * numbers + r) * kMatrixLanes + i] =
            field[(link * size + from) * kTile + half * kMatrixLanes + i];
      }
    }
  }
}

std::string NetworkStore::CopyStage(hf_stage* stage, int64_t input_rows, int64_t scalar, ArrayStore* arrays) {
  if (stage->sites < 0 || stage->out_channels < 1 || stage->rows_per_tap < 1 || stage->weight_blocks < 0) {
    return "sizes must be positive";
  }
  stage->tap_begin = arrays->Keep(stage->tap_begin, int64_t{stage->sites} + 1);
  if (stage->tap_begin[0] != 0) return "tap offsets do not start at 0";
  for (int32_t s = 0; s < stage->sites; ++s) {
    if (stage->tap_begin[s] > stage->tap_begin[s + 1]) return "tap offsets decrease";
  }
  const int64_t taps = stage->tap_begin[stage->sites];
  stage->tap_input = arrays->Keep(stage->tap_input, taps);
  stage->tap_weight = arrays->Keep(stage->tap_weight, taps);
  for (int64_t t = 0; t < taps; ++t) {
    const bool input_ok =
        stage->tap_input[t] >= 0 && (int64_t{stage->tap_input[t]} + 1) * stage->rows_per_tap <= input_rows;
    if (!input_ok) return "a tap reads outside its input";
    if (stage->tap_weight[t] < 0 || stage->tap_weight[t] >= stage->weight_blocks) return "a tap has no weights";
  }
  const int64_t weights = int64_t{stage->weight_blocks} * stage->rows_per_tap * stage->out_channels;
  stage->weights = arrays->Keep(static_cast<const char*>(stage->weights), weights * scalar);
  stage->bias = arrays->Keep(static_cast<const char*>(stage->bias), stage->out_channels * scalar);
  max_rows_ = std::max(max_rows_, int64_t{stage->sites} * stage->out_channels);
  return "";
}

std::string NetworkStore::Copy(const hf_stage** stage, int32_t stages, int64_t input_rows, bool double_network,
                               int64_t sites, int64_t channels, ArrayStore* arrays) {
  if (stages < 1) return "a network has at least one stage";
  auto copy = std::make_unique<hf_stage[]>(stages);
  int64_t rows = input_rows;
  for (int32_t s = 0; s < stages; ++s) {
    copy[s] = (*stage)[s];
    if (std::string e = CopyStage(&copy[s], rows, double_network ? 8 : 4, arrays); !e.empty()) {
      return "stage " + std::to_string(s) + ": " + e;
    }
    rows = int64_t{copy[s].sites} * copy[s].out_channels;
  }
  const hf_stage& last = copy[stages - 1];
  if (last.sites != sites || last.out_channels != channels) return "the last stage does not fit the map";
  *stage = copy.get();
  stages_.push_back(std::move(copy));
  return "";
}

}  // namespace haarflow::kernel
