// Sums of vectors in one order, whoever computes the terms: the terms are the leaves of a binary tree, and only
// siblings are added. Floating-point addition commutes but is not associative; so the sum's bits depend on the number
// of leaves alone, not on which thread or rank had which of them, nor on who came first. (MPI_Allreduce promises no
// order, and another one for every number of ranks.)
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "core/train/message.h"

namespace haarflow {

// Node (level, index) is the sum of leaves [index 2^level, (index + 1) 2^level) as far as they exist. Of a contiguous
// range of leaves no more than 2 log2(leaves) nodes remain. Not thread-safe: a thread has its own, merged afterwards.
class TreeSum {
 public:
  TreeSum() = default;
  explicit TreeSum(int64_t leaves) : leaves_(leaves) {}
  // Leaf `leaf` of 0 .. leaves - 1, each once; all vectors have one length.
  void Add(int64_t leaf, std::vector<double> values) { Add(0, leaf, std::move(values)); }
  // All of another part of the same sum.
  void Merge(TreeSum other);
  // Whether every leaf has been added.
  bool complete() const;
  // The sum, when complete; empty otherwise.
  std::vector<double> Take();

  void Pack(Packer* to) const;
  static TreeSum Unpack(Unpacker* from);

 private:
  void Add(int level, int64_t index, std::vector<double> values);

  int64_t leaves_ = 0;
  std::map<std::pair<int, int64_t>, std::vector<double>> nodes_;
};

}  // namespace haarflow
