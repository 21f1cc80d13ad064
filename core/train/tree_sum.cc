#include "core/train/tree_sum.h"

namespace haarflow {

void TreeSum::Add(int level, int64_t index, std::vector<double> values) {
  // A node is the root when it begins at leaf 0 and reaches the last.
  while (index != 0 || (int64_t{1} << level) < leaves_) {
    const int64_t sibling = index ^ 1;
    if (sibling << level < leaves_) {  // else there is nothing to add: one level up it is the same
      const auto it = nodes_.find({level, sibling});
      if (it == nodes_.end()) break;
      for (size_t i = 0; i < values.size(); ++i) values[i] += it->second[i];
      nodes_.erase(it);
    }
    ++level;
    index >>= 1;
  }
  nodes_[{level, index}] = std::move(values);
}

void TreeSum::Merge(TreeSum other) {
  for (auto& [place, values] : other.nodes_) Add(place.first, place.second, std::move(values));
}

bool TreeSum::complete() const {
  if (nodes_.size() != 1) return false;
  const auto [level, index] = nodes_.begin()->first;
  return index == 0 && (int64_t{1} << level) >= leaves_;
}

std::vector<double> TreeSum::Take() {
  std::vector<double> sum;
  if (complete()) sum = std::move(nodes_.begin()->second);
  nodes_.clear();
  return sum;
}

void TreeSum::Pack(Packer* to) const {
  to->Add(leaves_).Add<uint64_t>(nodes_.size());
  for (const auto& [place, values] : nodes_) to->Add(place.first).Add(place.second).AddDoubles(values);
}

TreeSum TreeSum::Unpack(Unpacker* from) {
  TreeSum sum(from->Take<int64_t>());
  const auto nodes = from->Take<uint64_t>();
  for (uint64_t i = 0; i < nodes && from->good(); ++i) {
    const auto level = from->Take<int>();
    const auto index = from->Take<int64_t>();
    sum.nodes_[{level, index}] = from->TakeDoubles();
  }
  return sum;
}

}  // namespace haarflow
