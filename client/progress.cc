#include "client/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/output.h"

namespace haarflow {
namespace {

int TerminalWidth() {
  struct winsize size {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

ProgressBar::ProgressBar(bool enabled, std::string unit, uint64_t total, uint64_t done_before)
    : enabled_(enabled && ::isatty(STDERR_FILENO) == 1),
      unit_(std::move(unit)),
      total_(total),
      done_before_(done_before) {}

std::string ProgressBar::Line(uint64_t done, uint64_t total, const std::string& unit, double rate,
                              const std::string& remark, int width) {
  const double fraction = total > 0 ? std::min(1.0, static_cast<double>(done) / static_cast<double>(total)) : 0;
  const std::string percent = absl::StrFormat("%3d %%", static_cast<int>(100 * fraction));
  const std::string eta = rate > 0 && total >= done ? ClockTime(static_cast<double>(total - done) / rate) : "-";
  std::string numbers = absl::StrCat(Grouped(done), "/", Grouped(total), " ", unit);
  absl::StrAppend(&numbers, "  ", rate >= 10 ? Grouped(static_cast<uint64_t>(rate)) : Significant(rate, 2), "/s  ETA ",
                  eta);
  if (!remark.empty()) absl::StrAppend(&numbers, "  ", remark);
  const int room = width - static_cast<int>(percent.size() + numbers.size()) - 5;  // " [", "]  "
  std::string line = percent;
  if (room >= 8) {
    const int cells = std::min(room, 40);
    const int full = static_cast<int>(cells * fraction);
    line += " [" + std::string(full, '#') + std::string(cells - full, '-') + "] ";
  }
  line += " " + numbers;
  return line.substr(0, std::max(width, 0));
}

void ProgressBar::Update(uint64_t done) {
  if (!enabled_) return;
  const auto now = Clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + std::chrono::milliseconds(100);
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done - std::min(done, done_before_)) / seconds : 0;
  // One column is left free: a full line would scroll on some terminals.
  std::fprintf(stderr, "\r%s\x1b[K", Line(done, total_, unit_, rate, remark_, TerminalWidth() - 1).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

StatusLine::StatusLine(bool enabled) : enabled_(enabled && ::isatty(STDERR_FILENO) == 1) {}

void StatusLine::Show(const std::string& text) {
  if (!enabled_) return;
  std::fprintf(stderr, "\r%s\x1b[K", text.substr(0, static_cast<size_t>(TerminalWidth() - 1)).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void StatusLine::Finish() {
  if (!std::exchange(drawn_, false)) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
}

void ProgressBar::Finish() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
  next_draw_ = Clock::now();
}

}  // namespace haarflow
