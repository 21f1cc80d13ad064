#include <utility>

#include "core/action/target.h"
#include "core/base/status.h"
#include "core/kernel/kernels.h"
#include "core/train/draws.h"
#include "core/train/order_book.h"
#include "core/train/ranked.h"

namespace haarflow {
namespace {

constexpr size_t kKeptModels = 2;  // of the same weights with two numbers of steps

std::string PackModel(const ModelParts& model) {
  Packer packer;
  packer.AddText(model.spec.SerializeAsString()).AddText(WriteSafetensors(model.weights, {})).Add(model.steps);
  return packer.Take();
}

absl::StatusOr<std::shared_ptr<const Model>> ModelOf(OrderBook* book, const std::string& packed) {
  for (auto it = book->models.begin(); it != book->models.end(); ++it) {
    if (it->first != packed) continue;
    book->models.splice(book->models.begin(), book->models, it);
    return it->second;
  }
  Unpacker unpacker(packed);
  v1::ModelSpec spec;
  const bool parsed = spec.ParseFromString(unpacker.TakeText());
  const std::string weights = unpacker.TakeText();
  const auto steps = unpacker.Take<int32_t>();
  if (!parsed || !unpacker.ok()) return CutOff();
  ASSIGN_OR_RETURN(const TensorMap tensors, ReadSafetensors(weights));
  ASSIGN_OR_RETURN(auto model, Model::Create(spec, tensors, CpuKernels(), 0, steps));
  book->models.emplace_front(packed, std::move(model));
  if (book->models.size() > kKeptModels) book->models.pop_back();
  return book->models.front().second;
}

// This rank's tiles of chains; fields are [tile][round][chain][field].
absl::StatusOr<std::vector<double>> TilesOf(const OrderBook& book, const v1::Target& target,
                                            const TargetSchedule& schedule, uint64_t seed, TargetSampler sampler) {
  const int64_t size = FieldSize(target);
  const Share tiles = ShareOf(schedule.tiles, book.rank, book.size);
  std::vector<double> fields(tiles.size() * schedule.rounds * 16 * size);
  RETURN_IF_ERROR(DrawTargetTiles(
      target, schedule, tiles, seed, book.threads, sampler, [&](int64_t round, int64_t tile, int64_t chain) {
        return fields.data() + (((tile - tiles.begin) * schedule.rounds + round) * 16 + chain) * size;
      }));
  return fields;
}

// From [tile][round][chain][width] to the order of DrawTargetSamples.
std::vector<double> InOrder(const TargetSchedule& schedule, const std::vector<double>& by_tile, int64_t width) {
  std::vector<double> ordered(by_tile.size());
  auto from = by_tile.begin();
  for (int64_t tile = 0; tile < schedule.tiles; ++tile) {
    for (int64_t round = 0; round < schedule.rounds; ++round, from += 16 * width) {
      std::copy_n(from, 16 * width, ordered.begin() + schedule.At(round, tile, 0) * width);
    }
  }
  return ordered;
}

}  // namespace

absl::StatusOr<Reply> RankedDraw(const ModelParts& model, const v1::Target& target, uint64_t samples, uint64_t seed,
                                 bool signs, Crew* crew) {
  Packer packer;
  packer.AddText(PackModel(model)).AddText(target.SerializeAsString()).Add(samples).Add(seed).Add(signs);
  ASSIGN_OR_RETURN(Reply reply, crew->Run(Order::kDraw, packer.Take()));
  if (reply.columns.size() != 2 || reply.columns[0].size() != samples) {
    return absl::InternalError("the ranks' draws do not fit together");
  }
  return reply;
}

absl::StatusOr<Reply> ExecuteDraw(OrderBook* book, Unpacker order) {
  const std::string packed = order.TakeText(), target_bytes = order.TakeText();
  const auto samples = order.Take<uint64_t>();
  const auto seed = order.Take<uint64_t>();
  const auto signs = order.Take<bool>();
  v1::Target target;
  if (!order.ok() || !target.ParseFromString(target_bytes)) return CutOff();
  ASSIGN_OR_RETURN(const auto model, ModelOf(book, packed));
  const Share share = ShareOf(static_cast<int64_t>(samples), book->rank, book->size);
  ASSIGN_OR_RETURN(DrawnWeights drawn, DrawShare(*model, target, share, seed, signs, book->threads));
  return Reply{absl::OkStatus(), {std::move(drawn.log_weight), std::move(drawn.sign)}, {}};
}

absl::StatusOr<std::vector<double>> RankedJudge(const ModelParts& model, int64_t wanted, uint64_t seed, Crew* crew) {
  Packer packer;
  packer.AddText(PackModel(model)).Add(wanted).Add(seed);
  ASSIGN_OR_RETURN(const Reply reply, crew->Run(Order::kJudge, packer.Take()));
  const TargetSchedule schedule(model.spec.target(), wanted);
  if (reply.columns.size() != 1 || static_cast<int64_t>(reply.columns[0].size()) != schedule.n()) {
    return absl::InternalError("the ranks' densities do not fit together");
  }
  return InOrder(schedule, reply.columns[0], 1);
}

absl::StatusOr<Reply> ExecuteJudge(OrderBook* book, Unpacker order) {
  const std::string packed = order.TakeText();
  const auto wanted = order.Take<int64_t>();
  const auto seed = order.Take<uint64_t>();
  if (!order.ok()) return CutOff();
  ASSIGN_OR_RETURN(const auto model, ModelOf(book, packed));
  ASSIGN_OR_RETURN(
      const std::vector<double> fields,
      TilesOf(*book, model->target(), TargetSchedule(model->target(), wanted), seed, TargetSampler::kCluster));
  ASSIGN_OR_RETURN(std::vector<double> log_weight, WeighFields(*model, fields, book->threads));
  return Reply{absl::OkStatus(), {std::move(log_weight)}, {}};
}

absl::StatusOr<TargetSamples> RankedTargetSamples(const v1::Target& target, int64_t n, uint64_t seed,
                                                  TargetSampler sampler, Crew* crew) {
  Packer packer;
  packer.AddText(target.SerializeAsString()).Add(n).Add(seed).Add(sampler);
  ASSIGN_OR_RETURN(const Reply reply, crew->Run(Order::kTargetSamples, packer.Take()));
  const TargetSchedule schedule(target, n);
  const int64_t size = FieldSize(target);
  if (reply.columns.size() != 1 || static_cast<int64_t>(reply.columns[0].size()) != schedule.n() * size) {
    return absl::InternalError("the ranks' fields do not fit together");
  }
  return TargetSamples{schedule.n(), InOrder(schedule, reply.columns[0], size)};
}

absl::StatusOr<Reply> ExecuteTargetSamples(OrderBook* book, Unpacker order) {
  const std::string target_bytes = order.TakeText();
  const auto n = order.Take<int64_t>();
  const auto seed = order.Take<uint64_t>();
  const auto sampler = order.Take<TargetSampler>();
  v1::Target target;
  if (!order.ok() || !target.ParseFromString(target_bytes)) return CutOff();
  ASSIGN_OR_RETURN(std::vector<double> fields, TilesOf(*book, target, TargetSchedule(target, n), seed, sampler));
  return Reply{absl::OkStatus(), {std::move(fields)}, {}};
}

}  // namespace haarflow
