#include <algorithm>
#include <utility>

#include "core/base/status.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/train/order_book.h"
#include "core/train/ranked.h"

namespace haarflow {
namespace {

using kernel::kMatrixLanes;

class RankedLogWeights final : public LogWeightSource {
 public:
  RankedLogWeights(std::string plan, int64_t parameters, Crew* crew)
      : plan_(std::move(plan)), parameters_(parameters), crew_(crew) {}
  int64_t parameters() const override { return parameters_; }

  absl::Status Evaluate(absl::Span<const double> parameters, uint64_t seed, uint64_t first_index, int64_t n,
                        const std::array<double, 3>& action, bool with_jacobian, LogWeights* out) override {
    Packer packer;
    packer.AddText(plan_).AddDoubles(parameters);
    packer.Add(seed).Add(first_index).Add(n).Add(action).Add(with_jacobian);
    ASSIGN_OR_RETURN(Reply reply, crew_->Run(Order::kLogWeights, packer.Take()));
    if (reply.columns.size() != 3 || static_cast<int64_t>(reply.columns[0].size()) != n || reply.columns[2].empty()) {
      return absl::InternalError("the ranks' log-weights do not fit together");
    }
    out->log_weight = std::move(reply.columns[0]);
    out->jacobian = std::move(reply.columns[1]);
    out->smallest_determinant = *std::min_element(reply.columns[2].begin(), reply.columns[2].end());
    return absl::OkStatus();
  }

 private:
  const std::string plan_;
  const int64_t parameters_;
  Crew* const crew_;
};

std::string PackPlan(const v1::ModelSpec& spec, const v1::Target& target, int sweeps, int32_t integration_steps) {
  Packer packer;
  packer.AddText(spec.SerializeAsString()).AddText(target.SerializeAsString()).Add(sweeps).Add(integration_steps);
  return packer.Take();
}

struct PackedPlan {
  LoopFlowPlan plan;
  int32_t integration_steps = 0;
};
absl::StatusOr<PackedPlan> UnpackPlan(const std::string& bytes) {
  Unpacker unpacker(bytes);
  v1::ModelSpec spec;
  v1::Target target;
  if (!spec.ParseFromString(unpacker.TakeText()) || !target.ParseFromString(unpacker.TakeText())) return CutOff();
  const auto sweeps = unpacker.Take<int>();
  PackedPlan packed;
  packed.integration_steps = unpacker.Take<int32_t>();
  if (!unpacker.ok()) return CutOff();
  ASSIGN_OR_RETURN(packed.plan, PlanLoopFlow(spec, target, sweeps));
  return packed;
}

// The fields that a rank has of n.
Share FieldsOf(int rank, int ranks, int64_t n) {
  const Share tiles = ShareOf(n / kMatrixLanes, rank, ranks);
  return {tiles.begin * kMatrixLanes, tiles.end * kMatrixLanes};
}

}  // namespace

std::unique_ptr<LogWeightSource> MakeRankedLogWeights(const v1::ModelSpec& spec, const v1::Target& target, int sweeps,
                                                      int32_t integration_steps, int64_t parameters, Crew* crew) {
  return std::make_unique<RankedLogWeights>(PackPlan(spec, target, sweeps, integration_steps), parameters, crew);
}

absl::StatusOr<Reply> ExecuteLogWeights(OrderBook* book, Unpacker order) {
  const std::string plan = order.TakeText();
  const std::vector<double> parameters = order.TakeDoubles();
  const auto seed = order.Take<uint64_t>();
  const auto first_index = order.Take<uint64_t>();
  const auto n = order.Take<int64_t>();
  const auto action = order.Take<std::array<double, 3>>();
  const auto with_jacobian = order.Take<bool>();
  if (!order.ok()) return CutOff();
  auto& [made_from, source] = book->log_weights;
  if (source == nullptr || made_from != plan) {
    ASSIGN_OR_RETURN(PackedPlan packed, UnpackPlan(plan));
    source = MakeLoopLogWeights(std::move(packed.plan), book->threads, packed.integration_steps);
    made_from = plan;
  }
  const Share fields = FieldsOf(book->rank, book->size, n);
  LogWeights mine;
  RETURN_IF_ERROR(source->Evaluate(parameters, seed, first_index + static_cast<uint64_t>(fields.begin), fields.size(),
                                   action, with_jacobian, &mine));
  return Reply{
      absl::OkStatus(), {std::move(mine.log_weight), std::move(mine.jacobian), {mine.smallest_determinant}}, {}};
}

absl::StatusOr<TrivialisingTerms> RankedTerms(const v1::ModelSpec& spec, const v1::Target& target,
                                              int32_t integration_steps, const std::vector<double>& parameters,
                                              uint64_t seed, uint64_t first_index, int64_t n,
                                              const std::array<double, 3>& action, Crew* crew) {
  Packer packer;
  packer.AddText(PackPlan(spec, target, 0, integration_steps)).AddDoubles(parameters);
  packer.Add(seed).Add(first_index).Add(n).Add(action);
  ASSIGN_OR_RETURN(Reply reply, crew->Run(Order::kRegression, packer.Take()));
  const int64_t times = integration_steps + 1;
  TrivialisingTerms out;
  bool good = reply.columns.size() == 3 && static_cast<int64_t>(reply.columns[0].size()) == n &&
              static_cast<int64_t>(reply.columns[1].size()) == times * n && reply.columns[2].size() % (times * n) == 0;
  if (!good) return absl::InternalError("the ranks' terms do not fit together");
  out.log_weight = std::move(reply.columns[0]);
  const int64_t classes = static_cast<int64_t>(reply.columns[2].size()) / (times * n);
  // Each rank's arrays are [times][its fields]...: put together by time.
  out.minus_action.resize(times * n);
  out.terms.resize(times * n * classes);
  int64_t from = 0;
  for (int rank = 0; rank < crew->ranks(); ++rank) {
    const Share fields = FieldsOf(rank, crew->ranks(), n);
    for (int64_t t = 0; t < times; ++t, from += fields.size()) {
      const int64_t to = t * n + fields.begin;
      std::copy_n(reply.columns[1].begin() + from, fields.size(), out.minus_action.begin() + to);
      std::copy_n(reply.columns[2].begin() + from * classes, fields.size() * classes, out.terms.begin() + to * classes);
    }
  }
  return out;
}

absl::StatusOr<Reply> ExecuteRegression(OrderBook* book, Unpacker order) {
  const std::string plan = order.TakeText();
  const std::vector<double> parameters = order.TakeDoubles();
  const auto seed = order.Take<uint64_t>();
  const auto first_index = order.Take<uint64_t>();
  const auto n = order.Take<int64_t>();
  const auto action = order.Take<std::array<double, 3>>();
  if (!order.ok()) return CutOff();
  ASSIGN_OR_RETURN(const PackedPlan packed, UnpackPlan(plan));
  const Share fields = FieldsOf(book->rank, book->size, n);
  TrivialisingTerms mine =
      DrawTrivialisingTerms(packed.plan, packed.integration_steps, parameters, seed,
                            first_index + static_cast<uint64_t>(fields.begin), fields.size(), action, book->threads);
  return Reply{absl::OkStatus(), {std::move(mine.log_weight), std::move(mine.minus_action), std::move(mine.terms)}, {}};
}

}  // namespace haarflow
