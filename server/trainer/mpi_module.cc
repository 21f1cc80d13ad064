// Ranks by MPI: a module of its own, loaded when the trainer has been started as one of several (mpi_ranks.h), so that
// nothing else needs MPI to be built, installed or run. It uses nothing of ours but an interface.
//
// Waiting is done here and not in MPI, whose calls spin: ranks that wait for rank 0 to have a job, or for a slower one,
// leave their core to whoever can use it. Errors, and ranks that are lost, are fatal by MPI's default error handler and
// by the launcher.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "core/train/ranks.h"

namespace haarflow {
namespace {

// MPI counts in int.
constexpr uint64_t kChunk = uint64_t{1} << 30;
constexpr auto kSpin = std::chrono::microseconds(200);
constexpr auto kLongestSleep = std::chrono::microseconds(2000);

void Wait(MPI_Request* request) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  int done = 0;
  while (true) {
    MPI_Test(request, &done, MPI_STATUS_IGNORE);
    if (done != 0) return;
    const auto waited = Clock::now() - start;
    if (waited < kSpin) {
      ::sched_yield();
      continue;
    }
    // An eighth of what it took already: so much later at most.
    const std::chrono::nanoseconds sleep = std::min<std::chrono::nanoseconds>(waited / 8, kLongestSleep);
    const timespec duration = {0, static_cast<long>(sleep.count())};
    ::nanosleep(&duration, nullptr);
  }
}

class MpiRanks final : public Ranks {
 public:
  MpiRanks() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &local_size_);
    MPI_Comm_free(&node);
  }
  ~MpiRanks() override { MPI_Finalize(); }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_size() const override { return local_size_; }

  void Broadcast(std::string* bytes) override {
    uint64_t n = bytes->size();
    BroadcastPart(&n, sizeof n);
    bytes->resize(n);
    for (uint64_t at = 0; at < n; at += kChunk) BroadcastPart(bytes->data() + at, std::min(kChunk, n - at));
  }
  void Send(int to, const std::string& bytes) override {
    const uint64_t n = bytes.size();
    SendPart(to, &n, sizeof n);
    for (uint64_t at = 0; at < n; at += kChunk) SendPart(to, bytes.data() + at, std::min(kChunk, n - at));
  }
  std::string Receive(int from) override {
    uint64_t n = 0;
    ReceivePart(from, &n, sizeof n);
    std::string bytes(n, '\0');
    for (uint64_t at = 0; at < n; at += kChunk) ReceivePart(from, bytes.data() + at, std::min(kChunk, n - at));
    return bytes;
  }

 private:
  static void BroadcastPart(void* data, uint64_t n) {
    MPI_Request request;
    MPI_Ibcast(data, static_cast<int>(n), MPI_BYTE, 0, MPI_COMM_WORLD, &request);
    Wait(&request);
  }
  static void SendPart(int to, const void* data, uint64_t n) {
    MPI_Request request;
    MPI_Isend(data, static_cast<int>(n), MPI_BYTE, to, 0, MPI_COMM_WORLD, &request);
    Wait(&request);
  }
  static void ReceivePart(int from, void* data, uint64_t n) {
    MPI_Request request;
    MPI_Irecv(data, static_cast<int>(n), MPI_BYTE, from, 0, MPI_COMM_WORLD, &request);
    Wait(&request);
  }

  int rank_ = 0;
  int size_ = 1;
  int local_size_ = 1;
};

}  // namespace
}  // namespace haarflow

extern "C" {
const char* haarflow_ranks_version() { return HAARFLOW_VERSION; }

// Null when MPI does not start. At most once in a process; MPI ends with the object.
haarflow::Ranks* haarflow_make_ranks(int* argc, char*** argv) {
  int level = 0;
  // Other threads compute, and do not call MPI.
  if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS) return nullptr;
  return new haarflow::MpiRanks();
}
}
