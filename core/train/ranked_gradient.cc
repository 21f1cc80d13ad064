#include <utility>

#include "core/base/status.h"
#include "core/train/order_book.h"
#include "core/train/ranked.h"
#include "core/train/trainable_flow.h"

namespace haarflow {
namespace {

class RankedGradient final : public GradientSource {
 public:
  RankedGradient(const v1::ModelSpec& spec, int64_t field_size, Crew* crew)
      : spec_(spec.SerializeAsString()), field_size_(field_size), crew_(crew) {}

  absl::Status Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch, std::vector<double>* gradient,
                        BatchResult* result) override {
    Packer packer;
    packer.AddText(spec_).AddDoubles(parameters);
    packer.Add(batch.seed).Add(batch.first_index).Add(batch.n).Add(batch.action).Add(batch.path_gradient);
    packer.Add(batch.integration_steps).Add(batch.kinetic_penalty).Add(batch.keep_fields);
    const bool samples = batch.samples != nullptr;
    packer.Add(samples).AddDoubles({batch.samples, static_cast<size_t>(samples ? batch.n * field_size_ : 0)});
    ASSIGN_OR_RETURN(Reply reply, crew_->Run(Order::kGradient, packer.Take()));
    *gradient = reply.sum.Take();
    if (reply.columns.size() != 3 || gradient->size() != parameters.size() + 1) {
      return absl::InternalError("the ranks' gradients do not fit together");
    }
    result->log_q = std::move(reply.columns[0]);
    result->action = std::move(reply.columns[1]);
    result->field = std::move(reply.columns[2]);
    result->penalty = gradient->back();
    gradient->pop_back();
    return absl::OkStatus();
  }

 private:
  const std::string spec_;
  const int64_t field_size_;
  Crew* const crew_;
};

}  // namespace

std::unique_ptr<GradientSource> MakeRankedGradient(const v1::ModelSpec& spec, Crew* crew) {
  return std::make_unique<RankedGradient>(spec, FieldSize(spec.target()), crew);
}

absl::StatusOr<Reply> ExecuteGradient(OrderBook* book, Unpacker order) {
  const std::string spec_bytes = order.TakeText();
  const std::vector<double> parameters = order.TakeDoubles();
  TrainingBatch batch;
  batch.seed = order.Take<uint64_t>();
  batch.first_index = order.Take<uint64_t>();
  batch.n = order.Take<int64_t>();
  batch.action = order.Take<std::array<double, 3>>();
  batch.path_gradient = order.Take<bool>();
  batch.integration_steps = order.Take<int32_t>();
  batch.kinetic_penalty = order.Take<double>();
  batch.keep_fields = order.Take<bool>();
  const bool has_samples = order.Take<bool>();
  const std::vector<double> samples = order.TakeDoubles();
  v1::ModelSpec spec;
  if (!order.ok() || !spec.ParseFromString(spec_bytes)) return CutOff();
  if (has_samples) {
    if (static_cast<int64_t>(samples.size()) != batch.n * FieldSize(spec.target())) return CutOff();
    batch.samples = samples.data();
  }
  auto& [made_from, gradient] = book->gradient;
  if (gradient == nullptr || made_from != spec_bytes) {
    ASSIGN_OR_RETURN(const auto flow, MakeTrainableFlow(spec));
    ASSIGN_OR_RETURN(gradient, flow->MakeGradient(book->threads));
    made_from = spec_bytes;
  }
  if (gradient == nullptr) return absl::InvalidArgumentError("loop flows have no gradient of this kind");
  Reply reply;
  const int64_t leaves = SharedGradient::Leaves(batch.n);
  reply.sum = TreeSum(leaves);
  BatchResult result;
  RETURN_IF_ERROR(
      gradient->EvaluateShare(parameters, batch, ShareOf(leaves, book->rank, book->size), &reply.sum, &result));
  reply.columns = {std::move(result.log_q), std::move(result.action), std::move(result.field)};
  return reply;
}

}  // namespace haarflow
