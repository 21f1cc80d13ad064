// What one table of kernels makes of a flow: proposals and densities, compared between tables.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/kernel/table.h"

namespace haarflow {

struct FlowResults {
  std::vector<double> field, log_q, action;
  // Configuration i alone.
  FlowResults Of(int64_t i, int64_t size) const {
    return {{field.begin() + i * size, field.begin() + (i + 1) * size}, {log_q[i]}, {action[i]}};
  }
};
inline void ExpectSameBits(const FlowResults& a, const FlowResults& b) {
  EXPECT_EQ(a.field, b.field);
  EXPECT_EQ(a.log_q, b.log_q);
  EXPECT_EQ(a.action, b.action);
}

// A flow of one table of kernels.
class FlowHandle {
 public:
  // create(kernels, &handle) makes it. `couplings` must outlive it; `size`: of a field.
  template <class Create>
  FlowHandle(const hf_kernels& kernels, const double* couplings, int64_t size, const Create& create)
      : kernels_(kernels), couplings_(couplings), size_(size) {
    EXPECT_EQ(create(kernels, &handle_), HF_OK) << kernels.last_error();
  }
  FlowHandle(const FlowHandle&) = delete;
  FlowHandle& operator=(const FlowHandle&) = delete;
  ~FlowHandle() { kernels_.flow_destroy(handle_); }

  FlowResults Draw(int64_t first, int64_t n, int32_t* code = nullptr, void* stream = nullptr) const {
    std::vector<uint64_t> seed, index;
    for (int64_t i = first; i < first + n; ++i) {
      seed.push_back(0x123456789ABCDEFull + i % 3);
      index.push_back(i + (i % 5 == 0 ? uint64_t{1} << 40 : 0));
    }
    FlowResults out = Empty(n);
    Take(kernels_.flow_draw(handle_, n, seed.data(), index.data(), couplings_, out.field.data(), out.log_q.data(),
                            out.action.data(), stream),
         code);
    return out;
  }
  FlowResults Density(const std::vector<double>& field, int32_t* code = nullptr) const {
    FlowResults out = Empty(static_cast<int64_t>(field.size()) / size_);
    out.field = field;
    Take(kernels_.flow_density(handle_, static_cast<int64_t>(out.log_q.size()), field.data(), couplings_,
                               out.log_q.data(), out.action.data(), nullptr),
         code);
    return out;
  }

 private:
  FlowResults Empty(int64_t n) const {
    return {std::vector<double>(n * size_), std::vector<double>(n), std::vector<double>(n)};
  }
  void Take(int32_t code, int32_t* out) const {
    if (out != nullptr) {
      *out = code;
    } else {
      EXPECT_EQ(code, HF_OK) << kernels_.last_error();
    }
  }

  const hf_kernels& kernels_;
  const double* couplings_;
  int64_t size_;
  void* handle_ = nullptr;
};

inline void ExpectClose(const FlowResults& a, const FlowResults& b, double tolerance) {
  const auto close = [&](const std::vector<double>& x, const std::vector<double>& y, const char* what) {
    ASSERT_EQ(x.size(), y.size());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(x[i], y[i], tolerance * std::max(1.0, std::abs(y[i]))) << what << " " << i;
    }
  };
  close(a.field, b.field, "field");
  close(a.log_q, b.log_q, "log q");
  close(a.action, b.action, "action");
}

}  // namespace haarflow
