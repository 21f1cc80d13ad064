// The commutator-free Runge-Kutta method of fourth order of Celledoni, Marthinsen and Owren (Future Gener. Comput.
// Syst. 19 (2003) 341) for dU/dt = F U, as core/kernel/cpu/continuous_loop.inc uses it.
#pragma once

namespace haarflow::kernel {

inline constexpr int kStages = 4;
// Weights of the stages' forces: in what makes Y2, Y3, Y4, in the two moves at the end, and in the integral.
inline constexpr double kSecond[kStages] = {0.5, 0, 0, 0}, kThird[kStages] = {0, 0.5, 0, 0},
                        kFourth[kStages] = {-0.5, 0, 1, 0};
inline constexpr double kFirstMove[kStages] = {3.0 / 12, 2.0 / 12, 2.0 / 12, -1.0 / 12};
inline constexpr double kLastMove[kStages] = {-1.0 / 12, 2.0 / 12, 2.0 / 12, 3.0 / 12};
inline constexpr double kQuadrature[kStages] = {1.0 / 6, 1.0 / 3, 1.0 / 3, 1.0 / 6};
// Rows of the coefficients at the stages, from that of the step's beginning.
inline constexpr int kNode[kStages] = {0, 1, 1, 2};

}  // namespace haarflow::kernel
