// Work shared among threads that live as long as the call.
#pragma once

#include <cstdint>
#include <thread>
#include <vector>

namespace haarflow {

// f(0) .. f(threads - 1), each on a thread of its own, f(0) on the caller's. Returns when all have.
template <class F>
void OnThreads(int64_t threads, const F& f) {
  if (threads < 1) return;
  std::vector<std::thread> others;
  for (int64_t t = 1; t < threads; ++t) others.emplace_back([&f, t] { f(t); });
  f(0);
  for (std::thread& thread : others) thread.join();
}

}  // namespace haarflow
