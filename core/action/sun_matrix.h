// N x N complex matrices in place: [row][column][2] numbers of a field. Internal to core/action and core/observable.
#pragma once

#include <cmath>

namespace haarflow {

template <int N>
struct SunMatrix {
  static constexpr int kNumbers = 2 * N * N;

  static double Re(const double* m, int i, int j) { return m[2 * (i * N + j)]; }
  static double Im(const double* m, int i, int j) { return m[2 * (i * N + j) + 1]; }
  static void Copy(const double* a, double* out) {
    for (int k = 0; k < kNumbers; ++k) out[k] = a[k];
  }

  // out = a b; out is neither.
  static void Multiply(const double* a, const double* b, double* out) {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < N; ++j) {
        double re = 0;
        double im = 0;
        for (int k = 0; k < N; ++k) {
          re += Re(a, i, k) * Re(b, k, j) - Im(a, i, k) * Im(b, k, j);
          im += Re(a, i, k) * Im(b, k, j) + Im(a, i, k) * Re(b, k, j);
        }
        out[2 * (i * N + j)] = re;
        out[2 * (i * N + j) + 1] = im;
      }
    }
  }
  // out = a b^+; out is neither.
  static void MultiplyAdjoint(const double* a, const double* b, double* out) {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < N; ++j) {
        double re = 0;
        double im = 0;
        for (int k = 0; k < N; ++k) {
          re += Re(a, i, k) * Re(b, j, k) + Im(a, i, k) * Im(b, j, k);
          im += Im(a, i, k) * Re(b, j, k) - Re(a, i, k) * Im(b, j, k);
        }
        out[2 * (i * N + j)] = re;
        out[2 * (i * N + j) + 1] = im;
      }
    }
  }
  // out = a^+ b; out is neither.
  static void AdjointMultiply(const double* a, const double* b, double* out) {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < N; ++j) {
        double re = 0;
        double im = 0;
        for (int k = 0; k < N; ++k) {
          re += Re(a, k, i) * Re(b, k, j) + Im(a, k, i) * Im(b, k, j);
          im += Re(a, k, i) * Im(b, k, j) - Im(a, k, i) * Re(b, k, j);
        }
        out[2 * (i * N + j)] = re;
        out[2 * (i * N + j) + 1] = im;
      }
    }
  }
  // Re Tr a b^+.
  static double ReTraceAdjoint(const double* a, const double* b) {
    double sum = 0;
    for (int k = 0; k < kNumbers; ++k) sum += a[k] * b[k];
    return sum;
  }
};

}  // namespace haarflow
