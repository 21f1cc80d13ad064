// A checked copy of a loop flow's tables. Internal to this folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/kernel/tiles.h"

namespace haarflow::kernel {

class LoopStore {
 public:
  // Returns what is wrong with the tables, or an empty string.
  std::string Copy(const hf_loop_flow& flow);
  const hf_loop_flow& flow() const { return flow_; }
  // Of a matrix, and of a field as users see it.
  int64_t numbers() const { return flow_.colours == 2 ? 4 : 18; }
  int64_t field_size() const { return int64_t{flow_.links} * 2 * flow_.colours * flow_.colours; }
  // Largest numbers of any program.
  int64_t max_slots() const { return max_slots_; }
  int64_t max_scalars() const { return max_scalars_; }
  int64_t max_loops() const { return max_loops_; }

 private:
  std::string CheckIntegration() const;
  std::string CopyProgram(hf_link_program* program);
  std::string CopyPaths(hf_loops* loops);

  hf_loop_flow flow_{};
  std::vector<hf_link_program> programs_;
  std::vector<hf_loop_step> steps_;
  ArrayStore arrays_;
  int64_t max_slots_ = 1, max_scalars_ = 0, max_loops_ = 0;
};

}  // namespace haarflow::kernel
