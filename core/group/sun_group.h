// Elements of SU(N) and of its algebra, N = 2 or 3, one at a time: what host code and tests need. Fields at work are on
// vector registers (core/kernel/cpu/sun.inc), with the same generators:
//
//   T^a = -i lambda^a / 2 (sigma^a / 2), tr T^a T^b = -delta_ab / 2, [T^a, T^b] = f_abc T^c,
//
// anti-Hermitian. All functions are thread-safe.
#pragma once

#include <array>
#include <complex>
#include <cstdint>

#include "core/base/noise.h"

namespace haarflow {

// [row][column].
template <int N>
using GroupMatrix = std::array<std::complex<double>, N * N>;
// F^a of F = sum_a F^a T^a.
template <int N>
using AlgebraVector = std::array<double, N * N - 1>;

template <int N>
GroupMatrix<N> Identity();
template <int N>
GroupMatrix<N> Multiply(const GroupMatrix<N>& a, const GroupMatrix<N>& b);
template <int N>
GroupMatrix<N> Adjoint(const GroupMatrix<N>& a);
template <int N>
std::complex<double> Trace(const GroupMatrix<N>& a);
template <int N>
std::complex<double> Determinant(const GroupMatrix<N>& a);

// sum_a F^a T^a, and back: F^a = -2 Re tr(T^a M), of the traceless anti-Hermitian part of any matrix M.
template <int N>
GroupMatrix<N> AlgebraMatrix(const AlgebraVector<N>& f);
template <int N>
AlgebraVector<N> AlgebraComponents(const GroupMatrix<N>& m);

// exp(sum_a F^a T^a), F of any size.
template <int N>
GroupMatrix<N> Exponential(const AlgebraVector<N>& f);

// U = V diag(exp(i angle)) V^+, V unitary, its columns the eigenvectors. The angles are in the canonical cell:
// descending, their sum is 0, the largest and the smallest differ by at most 2 pi. The residual is a few ulp also where
// eigenvalues are close to each other or coincide; there, any basis of their eigenvectors' space may be returned.
template <int N>
struct EigenSystem {
  std::array<double, N> angle;
  GroupMatrix<N> vectors;
};
template <int N>
EigenSystem<N> Eigen(const GroupMatrix<N>& u);

// The principal logarithm, exp(Logarithm(U)) = U, its eigenvalues i times the angles of Eigen. It jumps where the
// largest and the smallest angle differ by 2 pi: near -1 in SU(2).
template <int N>
AlgebraVector<N> Logarithm(const GroupMatrix<N>& u);

// The special unitary matrix next to m: the unitary factor of its polar decomposition divided by the root of the
// determinant that is next to 1. Requires m near the group: |m^+ m - 1| below about 1/2.
template <int N>
GroupMatrix<N> Project(const GroupMatrix<N>& m);

// From Haar measure, by the numbers at the address (seed, purpose, index): link `link` of the kernels' draws.
template <int N>
GroupMatrix<N> HaarMatrix(uint64_t seed, NoisePurpose purpose, uint64_t index, uint32_t link);

}  // namespace haarflow
