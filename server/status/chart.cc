#include "server/status/chart.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace haarflow {
namespace {

struct Frame {
  double left, top, width, height;  // in the units of the picture
};

// One path for each run of finite values; a value that stands alone is a dot.
std::string Paths(const ChartLine& line, const Frame& frame, double bottom, double top) {
  const size_t n = line.values.size();
  const double step = n > 1 ? frame.width / static_cast<double>(n - 1) : 0;
  const auto x = [&](size_t i) {
    return n > 1 ? frame.left + step * static_cast<double>(i) : frame.left + frame.width;
  };
  const auto y = [&](double value) {
    return frame.top + frame.height * (1 - std::clamp((value - bottom) / (top - bottom), 0.0, 1.0));
  };
  std::string out;
  for (size_t i = 0; i < n;) {
    if (!std::isfinite(line.values[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    std::string path;
    for (; end < n && std::isfinite(line.values[end]); ++end) {
      absl::StrAppendFormat(&path, "%c%.1f %.1f", end == i ? 'M' : 'L', x(end), y(line.values[end]));
    }
    if (end == i + 1) {
      absl::StrAppendFormat(&out, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"1.6\"/>", line.css_class, x(i),
                            y(line.values[i]));
    } else {
      absl::StrAppend(&out, "<path class=\"line ", line.css_class, "\" d=\"", path, "\"/>");
    }
    i = end;
  }
  return out;
}

std::string Text(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>", x, y, anchor, text);
}

std::string Ago(double seconds) {
  if (seconds >= 120) return absl::StrFormat("-%.0f min", seconds / 60);
  return absl::StrFormat("-%.0f s", seconds);
}

// `how`: further attributes.
std::string Open(int width, int height, const char* css_class, const std::string& label, const char* how = "") {
  return absl::StrFormat("<svg class=\"%s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\"%s>", css_class, width,
                         height, Escaped(label), how);
}

}  // namespace

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return out;
}

std::string LineChart(const std::vector<ChartLine>& lines, const ChartOptions& options) {
  const Frame frame{30, 6, static_cast<double>(options.width) - 36, static_cast<double>(options.height) - 24};
  const double right = frame.left + frame.width;
  const double bottom = frame.top + frame.height;
  const double range = options.top - options.bottom;
  std::string svg = Open(options.width, options.height, "chart", options.label);
  for (const double part : {0.0, 0.5, 1.0}) {
    const double y = bottom - part * frame.height;
    absl::StrAppendFormat(&svg, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", frame.left,
                          right, y, y);
    absl::StrAppend(&svg, Text(frame.left - 5, y + 3.5, "end", absl::StrFormat("%.3g", options.bottom + part * range)));
  }
  if (options.reference >= 0) {
    const double y = bottom - std::clamp((options.reference - options.bottom) / range, 0.0, 1.0) * frame.height;
    absl::StrAppendFormat(&svg, "<line class=\"reference\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                          frame.left, right, y, y);
  }
  if (options.seconds > 0) absl::StrAppend(&svg, Text(frame.left, bottom + 14, "start", Ago(options.seconds)));
  absl::StrAppend(&svg, Text(right, bottom + 14, "end", "now"));
  for (const ChartLine& line : lines) absl::StrAppend(&svg, Paths(line, frame, options.bottom, options.top));
  return svg + "</svg>";
}

std::string Sparkline(const ChartLine& line, const std::string& label) {
  constexpr int kWidth = 160, kHeight = 36;
  double top = 0;
  for (const double value : line.values) top = std::isfinite(value) ? std::max(top, value) : top;
  return Open(kWidth, kHeight, "spark", label, " preserveAspectRatio=\"none\"") +
         Paths(line, {1, 3, kWidth - 2.0, kHeight - 6.0}, 0, top > 0 ? top : 1) + "</svg>";
}

}  // namespace haarflow
