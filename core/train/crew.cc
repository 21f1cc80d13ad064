#include "core/train/crew.h"

#include <new>
#include <utility>

#include "core/base/status.h"
#include "core/kernel/kernels.h"
#include "core/train/order_book.h"

namespace haarflow {
namespace {

// What must agree for ranks to compute the same bits.
std::string Identity() { return absl::StrCat("version ", HAARFLOW_VERSION, ", ", CpuKernels().numerics); }

absl::StatusOr<Reply> ExecuteHello(const std::string& leader) {
  if (leader == Identity()) return Reply();
  return absl::FailedPreconditionError(
      absl::StrCat("is ", Identity(), ", rank 0 is ", leader,
                   ": one training needs one program and one kind of CPU (Slurm: --constraint)"));
}

std::string Pack(const Reply& reply) {
  Packer packer;
  packer.Add(static_cast<int>(reply.status.code())).AddText(std::string(reply.status.message()));
  packer.Add<uint64_t>(reply.columns.size());
  for (const auto& column : reply.columns) packer.AddDoubles(column);
  reply.sum.Pack(&packer);
  return packer.Take();
}

Reply Unpack(const std::string& bytes) {
  Unpacker unpacker(bytes);
  Reply reply;
  const auto code = static_cast<absl::StatusCode>(unpacker.Take<int>());
  reply.status = absl::Status(code, unpacker.TakeText());
  const auto columns = unpacker.Take<uint64_t>();
  for (uint64_t i = 0; i < columns && unpacker.good(); ++i) reply.columns.push_back(unpacker.TakeDoubles());
  reply.sum = TreeSum::Unpack(&unpacker);
  if (!unpacker.ok()) reply.status = absl::InternalError("a reply is cut off");
  return reply;
}

// `later`: of the ranks that follow on those of `reply`.
void Append(Reply later, Reply* reply) {
  if (!reply->status.ok()) return;
  if (!later.status.ok() || later.columns.size() != reply->columns.size()) {
    *reply = Reply{later.status.ok() ? absl::InternalError("ranks gave different answers") : later.status, {}, {}};
    return;
  }
  for (size_t i = 0; i < later.columns.size(); ++i) {
    auto& column = reply->columns[i];
    column.insert(column.end(), later.columns[i].begin(), later.columns[i].end());
  }
  reply->sum.Merge(std::move(later.sum));
}

// Up a binary tree of ranks, in log2(size) rounds: each takes the replies of those that follow on its own. Rank 0 has
// all in the end.
void Collect(Ranks* ranks, Reply* reply) {
  const int rank = ranks->rank(), size = ranks->size();
  for (int distance = 1; distance < size; distance *= 2) {
    if (rank % (2 * distance) != 0) {
      ranks->Send(rank - distance, Pack(*reply));
      return;
    }
    if (rank + distance < size) Append(Unpack(ranks->Receive(rank + distance)), reply);
  }
}

}  // namespace

Reply OrderBook::Execute(Order order, const std::string& bytes) {
  const auto execute = [&]() -> absl::StatusOr<Reply> {
    switch (order) {
      case Order::kHello:
        return ExecuteHello(bytes);
      case Order::kGradient:
        return ExecuteGradient(this, Unpacker(bytes));
      case Order::kLogWeights:
        return ExecuteLogWeights(this, Unpacker(bytes));
      case Order::kRegression:
        return ExecuteRegression(this, Unpacker(bytes));
      case Order::kDraw:
        return ExecuteDraw(this, Unpacker(bytes));
      case Order::kJudge:
        return ExecuteJudge(this, Unpacker(bytes));
      case Order::kTargetSamples:
        return ExecuteTargetSamples(this, Unpacker(bytes));
      case Order::kEnd:
        break;
    }
    return absl::InternalError("not an order");
  };
  // An exception would leave the others waiting.
  absl::StatusOr<Reply> reply = absl::ResourceExhaustedError("not enough memory");
  try {
    reply = execute();
  } catch (const std::bad_alloc&) {
  }
  if (reply.ok()) return *std::move(reply);
  return Reply{size > 1 ? Annotate(reply.status(), absl::StrCat("rank ", rank)) : reply.status(), {}, {}};
}

Crew::Crew(Ranks* ranks, int threads)
    : ranks_(ranks), book_(std::make_unique<OrderBook>(ranks->rank(), ranks->size(), threads)) {}
Crew::~Crew() = default;

absl::StatusOr<std::unique_ptr<Crew>> Crew::Gather(Ranks* ranks, int threads) {
  std::unique_ptr<Crew> crew(new Crew(ranks, threads));
  const absl::Status status = crew->Run(Order::kHello, Identity()).status();
  if (status.ok()) return crew;
  crew->End(1);
  return status;
}

absl::StatusOr<Reply> Crew::Run(Order order, const std::string& bytes) {
  std::string message(1, static_cast<char>(order));
  message += bytes;
  ranks_->Broadcast(&message);
  Reply reply = book_->Execute(order, bytes);
  Collect(ranks_, &reply);
  if (!reply.status.ok()) return reply.status;
  return reply;
}

void Crew::End(int code) {
  std::string message(1, static_cast<char>(Order::kEnd));
  message.push_back(static_cast<char>(code));
  ranks_->Broadcast(&message);
}

int ServeCrew(Ranks* ranks, int threads) {
  OrderBook book(ranks->rank(), ranks->size(), threads);
  while (true) {
    std::string message;
    ranks->Broadcast(&message);
    if (message.size() < 2) return 1;  // no order is empty
    const auto order = static_cast<Order>(message[0]);
    if (order == Order::kEnd) return static_cast<unsigned char>(message[1]);
    message.erase(0, 1);
    Reply reply = book.Execute(order, message);
    Collect(ranks, &reply);
  }
}

}  // namespace haarflow
