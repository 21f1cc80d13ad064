// A progress bar on stderr, when that is a terminal and nobody said no.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace haarflow {

//   "  42 % [########------------]  4,200/10,000 steps  1,250/s  ETA 0:05"
//
// Drawn at most ten times a second, as wide as the terminal allows, and wiped at the end: what follows begins on a
// clean line.
class ProgressBar {
 public:
  // `done_before` counts for the percentage, not for the rate.
  ProgressBar(bool enabled, std::string unit, uint64_t total, uint64_t done_before = 0);
  ~ProgressBar() { Finish(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Update(uint64_t done);
  // Another total, or text after the numbers (such as an error reached so far).
  void SetTotal(uint64_t total) { total_ = total; }
  void SetRemark(std::string remark) { remark_ = std::move(remark); }
  // Wipes the bar; a later Update() draws it again.
  void Finish();

  // The line without colours, at most `width` characters.
  static std::string Line(uint64_t done, uint64_t total, const std::string& unit, double rate,
                          const std::string& remark, int width);

 private:
  using Clock = std::chrono::steady_clock;
  const bool enabled_;
  const std::string unit_;
  uint64_t total_;
  const uint64_t done_before_;
  std::string remark_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_draw_ = start_;
  bool drawn_ = false;
};

// One line of text on stderr, rewritten in place, under the same conditions.
class StatusLine {
 public:
  explicit StatusLine(bool enabled);
  ~StatusLine() { Finish(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  void Show(const std::string& text);
  void Finish();

 private:
  const bool enabled_;
  bool drawn_ = false;
};

}  // namespace haarflow
