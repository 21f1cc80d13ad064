// Lines over time as inline SVG. No script, no style attributes: classes of the page's style sheet give the colours, so
// that one picture serves light and dark.
#pragma once

#include <string>
#include <vector>

namespace haarflow {

struct ChartLine {
  std::string css_class;
  std::vector<double> values;  // equally spaced, the oldest first; a gap where not finite
};

struct ChartOptions {
  int width = 360;
  int height = 96;
  double bottom = 0, top = 1;  // of the vertical axis; values beyond are drawn on it
  double reference = -1;       // a dashed line; below 0: none
  double seconds = 0;          // that the lines cover
  std::string label;           // for those who cannot see it
};

// With a vertical axis of bottom, middle and top, and times.
std::string LineChart(const std::vector<ChartLine>& lines, const ChartOptions& options);
// A small one without axes, from 0 to its largest value.
std::string Sparkline(const ChartLine& line, const std::string& label);
// The text as HTML shows it, in an attribute too.
std::string Escaped(const std::string& text);

}  // namespace haarflow
