// What one GPU thread does for couplings of scalars; see network_bodies.h for the layout, core/kernel/cpu/
// scalar_coupling.inc for the map.
#pragma once

#include "core/kernel/cuda/network_bodies.h"
#include "core/kernel/line_map.h"

namespace haarflow::HF_ISA {

// Feature rows: sign times the sums of frozen sites.
template <class T>
struct FieldSumBody {
  const int32_t* begin;
  const int32_t* sites;
  const double* field;  // [sites][batch]
  double sign;
  T* out;
  int64_t batch;
  HF_FN void operator()(int32_t row, int64_t c) const {
    double sum = 0;
    for (int32_t k = begin[row]; k < begin[row + 1]; ++k) sum = sum + field[sites[k] * batch + c];
    out[row * batch + c] = static_cast<T>(sign * sum);
  }
};

// Parameters of odd layers, in place: the mean of those of the features and of the reflected ones of the negated
// features. A unit is an active site.
template <class T>
struct SymmetriseBody {
  int32_t map, pieces;
  const T* negated;
  T* parameters;
  int64_t batch;
  HF_FN void operator()(int32_t i, int64_t c) const {
    const int count = LineMapParameters(static_cast<LineMapKind>(map), pieces);
    for (int j = 0; j < count; ++j) {
      double sign;
      const int from = ReflectedLineParameter(pieces, j, &sign);
      T* own = parameters + (static_cast<int64_t>(i) * count + j) * batch + c;
      const T other = negated[(static_cast<int64_t>(i) * count + from) * batch + c];
      *own = Fma(static_cast<T>(0.5 * sign), other, static_cast<T>(0.5) * *own);
    }
  }
};

// Maps active site i in place; row i of `changes` gets what that adds to log q.
template <class T, LineMapKind kKind, bool kInverse>
struct LineCoupleBody {
  const int32_t* active_sites;
  int32_t pieces;
  double range;
  const T* parameters;  // [active][parameters per site][batch]
  double* field;
  double* changes;
  int64_t batch;
  HF_FN void operator()(int32_t i, int64_t c) const {
    const ParameterRow<T> p = {parameters + static_cast<int64_t>(i) * LineMapParameters(kKind, pieces) * batch + c,
                               batch};
    double* site = field + active_sites[i] * batch + c;
    double mapped, log_derivative;
    if (kInverse) {
      LineMapInverse(kKind, pieces, range, p, *site, &mapped, &log_derivative);
      changes[i * batch + c] = log_derivative;
    } else {
      LineMapForward(kKind, pieces, range, p, *site, &mapped, &log_derivative);
      changes[i * batch + c] = -log_derivative;
    }
    *site = mapped;
  }
};

}  // namespace haarflow::HF_ISA
