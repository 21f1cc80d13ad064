// Tables as the GPU reads them: everything of a flow in one block of memory, weights repacked in channel groups.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "core/kernel/cuda/network_bodies.h"

namespace haarflow::HF_ISA {

constexpr int64_t kAlignment = 256;
constexpr int kBlocks[] = {16, 8, 4};

// Bytes that will stand at `base`. Pack a flow once with base null to learn the size, then with the true base.
class Arena {
 public:
  explicit Arena(const char* base) : base_(base) {}

  template <class T>
  const T* Add(const T* data, int64_t n) {
    const size_t offset = bytes_.size();
    bytes_.resize((offset + n * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment);
    if (n > 0) std::memcpy(bytes_.data() + offset, data, n * sizeof(T));
    return reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(base_) + offset);
  }
  const std::vector<char>& bytes() const { return bytes_; }

 private:
  const char* base_;
  std::vector<char> bytes_;
};

// How many channels a thread works on: the least work, counting a load of input (per group and row) like 8
// multiply-adds.
inline int32_t BlockFor(int32_t channels) {
  int32_t best = 0;
  int64_t least = 0;
  for (const int32_t block : kBlocks) {
    const int64_t work = int64_t{(channels + block - 1) / block} * (4 * block + 8);
    if (best == 0 || work < least) best = block, least = work;
  }
  return best;
}

template <class T>
void PackWeights(const hf_stage& in, Arena* arena, StageTables* out) {
  const int64_t block = out->block, padded = out->groups * block;
  const int64_t rows = int64_t{in.weight_blocks} * in.rows_per_tap;
  std::vector<T> weights(rows * in.out_channels), packed(rows * padded), bias(padded);
  // Byte by byte: weights come from files and may not be aligned.
  if (rows > 0) std::memcpy(weights.data(), in.weights, weights.size() * sizeof(T));
  std::memcpy(bias.data(), in.bias, in.out_channels * sizeof(T));
  for (int64_t b = 0; b < in.weight_blocks; ++b) {
    for (int64_t r = 0; r < in.rows_per_tap; ++r) {
      for (int64_t o = 0; o < in.out_channels; ++o) {
        packed[((b * out->groups + o / block) * in.rows_per_tap + r) * block + o % block] =
            weights[(b * in.rows_per_tap + r) * in.out_channels + o];
      }
    }
  }
  out->weights = arena->Add(packed.data(), static_cast<int64_t>(packed.size()));
  out->bias = arena->Add(bias.data(), padded);
}

inline std::string PackStage(const hf_stage& in, int64_t input_rows, bool double_network, Arena* arena,
                             StageTables* out) {
  if (in.sites < 0 || in.out_channels < 1 || in.rows_per_tap < 1 || in.weight_blocks < 0)
    return "sizes must be positive";
  if (in.tap_begin[0] != 0) return "tap offsets do not start at 0";
  for (int32_t s = 0; s < in.sites; ++s) {
    if (in.tap_begin[s] > in.tap_begin[s + 1]) return "tap offsets decrease";
  }
  const int32_t taps = in.tap_begin[in.sites];
  for (int32_t t = 0; t < taps; ++t) {
    if (in.tap_input[t] < 0 || (in.tap_input[t] + int64_t{1}) * in.rows_per_tap > input_rows)
      return "a tap reads outside its input";
    if (in.tap_weight[t] < 0 || in.tap_weight[t] >= in.weight_blocks) return "a tap has no weights";
  }
  const int32_t block = BlockFor(in.out_channels);
  *out = {in.sites,
          in.out_channels,
          in.rows_per_tap,
          (in.out_channels + block - 1) / block,
          block,
          in.activation,
          {},
          {},
          {},
          {},
          {}};
  if (int64_t{out->sites} * out->groups >= INT32_MAX) return "too many sites times channels";
  out->tap_begin = arena->Add(in.tap_begin, int64_t{in.sites} + 1);
  out->tap_input = arena->Add(in.tap_input, taps);
  out->tap_weight = arena->Add(in.tap_weight, taps);
  if (double_network) {
    PackWeights<double>(in, arena, out);
  } else {
    PackWeights<float>(in, arena, out);
  }
  return "";
}

struct NetworkTables {
  bool double_network = false;
  std::vector<StageTables> stages;
};

// What a network needs of the two buffers that its rows alternate between: features in [1], then stages from [0].
using NetworkBytes = std::array<int64_t, 2>;

// A network that reads `input_rows` rows and puts out `sites` x `channels`. Returns what is wrong with it, or an empty
// string. `bytes` grows to what one configuration needs.
inline std::string PackNetwork(const hf_stage* stage, int32_t stages, int64_t input_rows, bool double_network,
                               int64_t sites, int64_t channels, Arena* arena, NetworkTables* out, NetworkBytes* bytes) {
  if (stages < 1) return "a network has at least one stage";
  out->double_network = double_network;
  int64_t rows = input_rows;
  const auto need = [&](int buffer) { (*bytes)[buffer] = std::max((*bytes)[buffer], rows * (double_network ? 8 : 4)); };
  need(1);
  for (int32_t s = 0; s < stages; ++s) {
    if (std::string e = PackStage(stage[s], rows, double_network, arena, &out->stages.emplace_back()); !e.empty()) {
      return "stage " + std::to_string(s) + ": " + e;
    }
    rows = int64_t{stage[s].sites} * stage[s].out_channels;
    need(s & 1);
  }
  const hf_stage& last = stage[stages - 1];
  if (last.sites != sites || last.out_channels != channels) return "the last stage does not fit the map";
  return "";
}

}  // namespace haarflow::HF_ISA
