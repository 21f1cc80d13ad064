// How a rank carries out orders. Internal to this folder: what asks for an order lies beside what carries it out, in
// ranked_gradient.cc, ranked_loops.cc and ranked_draws.cc.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <utility>

#include "core/model/model.h"
#include "core/train/crew.h"
#include "core/train/gradient.h"
#include "core/train/log_weight.h"

namespace haarflow {

// Keeps what the last orders were about: making it costs more than an order does.
class OrderBook {
 public:
  OrderBook(int rank, int size, int threads) : rank(rank), size(size), threads(threads) {}
  // This rank's share.
  Reply Execute(Order order, const std::string& bytes);

  const int rank, size, threads;
  // Each with the bytes that it was made from.
  std::pair<std::string, std::unique_ptr<SharedGradient>> gradient;
  std::pair<std::string, std::unique_ptr<LogWeightSource>> log_weights;
  std::list<std::pair<std::string, std::shared_ptr<const Model>>> models;  // the latest first
};

absl::StatusOr<Reply> ExecuteGradient(OrderBook* book, Unpacker order);
absl::StatusOr<Reply> ExecuteLogWeights(OrderBook* book, Unpacker order);
absl::StatusOr<Reply> ExecuteRegression(OrderBook* book, Unpacker order);
absl::StatusOr<Reply> ExecuteDraw(OrderBook* book, Unpacker order);
absl::StatusOr<Reply> ExecuteJudge(OrderBook* book, Unpacker order);
absl::StatusOr<Reply> ExecuteTargetSamples(OrderBook* book, Unpacker order);

inline absl::Status CutOff() { return absl::InternalError("an order from rank 0 is cut off"); }

}  // namespace haarflow
