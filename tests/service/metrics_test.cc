// What is counted: the ESS of the latest weights, series that come and go, and that page, table and export agree.
#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <numeric>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/metrics/ess_window.h"
#include "server/metrics/metric_table.h"
#include "tests/service/fake_sampler.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

double EssOf(const std::vector<double>& log_weights) {
  double sum = 0;
  double squares = 0;
  for (const double log_weight : log_weights) {
    const double weight = std::isfinite(log_weight) ? std::exp(log_weight) : 0;
    sum += weight;
    squares += weight * weight;
  }
  return sum * sum / squares / static_cast<double>(log_weights.size());
}

std::vector<double> Weights(size_t n, double sigma, uint64_t seed = 1) {
  std::vector<double> weights(n);
  for (size_t i = 0; i < n; ++i) weights[i] = FakeSampler::Normal(sigma)(seed, i);
  return weights;
}

TEST(EssWindow, IsTheEffectiveSampleSizeAndSaysNothingOfAFewWeights) {
  EssWindow window;
  const std::vector<double> weights = Weights(1000, 0.7);
  window.Add(Sha256Of("target"), absl::MakeSpan(weights).subspan(0, 255));
  EXPECT_FALSE(window.Ratio().has_value());
  window.Add(Sha256Of("target"), absl::MakeSpan(weights).subspan(255));
  EXPECT_NEAR(*window.Ratio(), EssOf(weights), 1e-12);
}

TEST(EssWindow, ForgetsAllButTheLatestWeights) {
  EssWindow window;
  window.Add(Sha256Of("target"), Weights(20000, 3.0));
  EXPECT_LT(*window.Ratio(), 0.2);
  const std::vector<double> good = Weights(8192, 0.1, 2);
  window.Add(Sha256Of("target"), good);
  EXPECT_GT(*window.Ratio(), 0.98) << "nothing is left of the bad ones";
  EXPECT_LE(window.samples(), 8192u);
  EXPECT_GE(window.samples(), 4096u);
}

TEST(EssWindow, TargetsOfDifferentNormalisationDoNotMixAndAreFew) {
  EssWindow window;
  std::vector<double> weights = Weights(2000, 0.5);
  const double each = EssOf(weights);
  window.Add(Sha256Of("a"), weights);
  for (double& weight : weights) weight += 200;  // log Z of another coupling
  window.Add(Sha256Of("b"), weights);
  EXPECT_NEAR(*window.Ratio(), each, 1e-12);
  for (int i = 0; i < 100; ++i) window.Add(Sha256Of(absl::StrCat(i)), weights);
  EXPECT_EQ(window.samples(), EssWindow::kTargets * 2000);
}

TEST(EssWindow, WeightsThatAreNoNumbersLowerTheRatio) {
  EssWindow window;
  std::vector<double> weights(1000, 0.0);
  for (size_t i = 0; i < 500; ++i) weights[i] = i % 2 == 0 ? std::nan("") : std::numeric_limits<double>::infinity();
  window.Add(Sha256Of("target"), weights);
  EXPECT_NEAR(*window.Ratio(), 0.5, 1e-12);
  EssWindow nothing;
  nothing.Add(Sha256Of("target"), std::vector<double>(300, -std::numeric_limits<double>::infinity()));
  EXPECT_EQ(*nothing.Ratio(), 0);
}

TEST(Metrics, SeriesOfWhatIsNotServedAnyMoreAreGone) {
  const auto metrics = Metrics::Create({"test", "cpu:1", "fake-1"}, "").value();
  const auto sampler = std::make_shared<FakeSampler>(std::vector<uint32_t>{2, 2}, FakeSampler::Normal(0.1));
  const auto old = Serve("model", sampler);
  auto next = std::make_shared<ServedModel>(*old);
  next->manifest.version = 2;
  const auto other = Serve("other", sampler);
  metrics->SetModels({old, other});
  const auto draw = [&](const ServedModel& model) {
    metrics->OnBatch(model, 300, 0.05);
    metrics->OnLogWeights(model, model.target_digest(), Weights(300, 0.1));
    metrics->OnProgress(model, {.proposals = 300, .chain_proposals = 200, .accepted = 150, .configurations = 140});
  };
  draw(*old);
  draw(*other);
  EXPECT_THAT(metrics->Text(), HasSubstr("haarflow_ess_ratio{model=\"model\",version=\"1\"} 0.9"));
  EXPECT_THAT(metrics->Text(), HasSubstr("haarflow_chain_proposals_total{model=\"model\"} 200"));
  metrics->SetModels({next, other});
  draw(*next);
  EXPECT_THAT(metrics->Text(), Not(HasSubstr("model=\"model\",version=\"1\""))) << "of a version that was replaced";
  EXPECT_THAT(metrics->Text(), HasSubstr("haarflow_ess_ratio{model=\"model\",version=\"2\"}"));
  EXPECT_THAT(metrics->Text(), HasSubstr("haarflow_proposals_total{model=\"model\"} 600")) << "the model goes on";
  EXPECT_EQ(metrics->Activity().at("model").counts.accepted, 300u);
  draw(*old);  // the last streams of the replaced version
  metrics->SetModels({other});
  EXPECT_THAT(metrics->Text(), Not(HasSubstr("model=\"model\""))) << "of a model that was unloaded";
  EXPECT_THAT(metrics->Text(), HasSubstr("haarflow_accepted_total{model=\"other\"} 150"));
  EXPECT_EQ(metrics->Activity().count("model"), 0u);
}

TEST(Metrics, ScrapeValuesComeFromTheSourceWhileThereIsOne) {
  const auto metrics = Metrics::Create({"test", "cpu:1", "fake-1"}, "").value();
  EXPECT_THAT(metrics->Text(), Not(HasSubstr("haarflow_max_streams")));
  metrics->SetSource([] {
    ScrapeValues values;
    values.max_streams = 7;
    values.memory["models"] = {1000, 0};
    values.memory["streams"] = {10, 20};
    values.gpu_memory.push_back({"cuda:1", 30, 50});
    values.jobs.emplace();
    (*values.jobs)["PENDING"] = {2, 12.5};
    (*values.jobs)["FAILED"] = {3, std::nullopt};
    values.ages.push_back({"m", 4, 60});
    return values;
  });
  const std::string text = metrics->Text();
  for (const char* line : {"haarflow_max_streams 7\n", "haarflow_memory_bytes{kind=\"models\"} 1000\n",
                           "haarflow_memory_budget_bytes{kind=\"streams\"} 20\n", "haarflow_jobs{state=\"FAILED\"} 3\n",
                           "haarflow_job_unchanged_seconds{state=\"PENDING\"} 12.5\n",
                           "haarflow_gpu_memory_bytes{device=\"cuda:1\",kind=\"free\"} 30\n",
                           "haarflow_gpu_memory_bytes{device=\"cuda:1\",kind=\"used\"} 50\n",
                           "haarflow_model_age_seconds{model=\"m\",version=\"4\"} 60\n", "haarflow_draining 0\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("haarflow_memory_budget_bytes{kind=\"models\"}"))) << "no bound";
  EXPECT_THAT(text, Not(HasSubstr("haarflow_job_unchanged_seconds{state=\"FAILED\"}")));
  EXPECT_THAT(text, Not(HasSubstr("haarflow_store_free_bytes"))) << "not known";
  metrics->SetSource(nullptr);
  EXPECT_THAT(metrics->Text(), Not(HasSubstr("haarflow_max_streams")));
}

// "| `name` | type | `label`, `label` | meaning |" -> "name type label,label".
std::vector<std::string> RowsOfThePage() {
  std::ifstream page(absl::StrCat(std::getenv("HAARFLOW_SOURCE_DIR"), "/server/metrics/README.md"));
  std::vector<std::string> rows;
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("| `", 0) != 0) continue;
    std::vector<std::string> cells;
    std::istringstream stream(line.substr(1));
    for (std::string cell; std::getline(stream, cell, '|');) {
      std::erase_if(cell, [](char c) { return c == ' ' || c == '`'; });
      cells.push_back(cell);
    }
    if (cells.size() >= 4) rows.push_back(absl::StrCat(cells[0], " ", cells[1], " ", cells[2]));
  }
  return rows;
}

TEST(Metrics, ThePageListsEveryMetricWithItsTypeAndLabels) {
  std::vector<std::string> table;
  for (const MetricRow& row : MetricTable()) {
    table.push_back(absl::StrCat(row.name, " ", row.type, " ", absl::StrJoin(row.labels, ",")));
    EXPECT_TRUE(std::is_sorted(row.labels.begin(), row.labels.end())) << row.name;
    EXPECT_EQ(row.help.back(), '.') << row.name;
    const bool total = row.name.size() > 6 && row.name.compare(row.name.size() - 6, 6, "_total") == 0;
    EXPECT_EQ(row.type == "counter", total) << row.name;
  }
  EXPECT_EQ(RowsOfThePage(), table);
}

}  // namespace
}  // namespace haarflow::testing
