// The machine's arithmetic limit as LibTorch reaches it.
#pragma once

namespace haarflow {

// Multiply-adds per second x 2 of a square float32 matrix product on one thread.
double GemmFlops();

}  // namespace haarflow
