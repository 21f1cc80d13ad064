// The processes of one training, and how they talk: an interface, so that the core knows no MPI
// (server/trainer/mpi_module.cc has it).
#pragma once

#include <string>

namespace haarflow {

// Rank 0 leads. Calls are made from one thread of each process. There is no error to return: a rank that is lost takes
// the others with it (the launcher ends them), and the attempt is resumed from its last state.
class Ranks {
 public:
  virtual ~Ranks() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // How many of them are on this machine, for who shares its cores.
  virtual int local_size() const = 0;
  // Rank 0's bytes, to all. Those who wait leave their core to others.
  virtual void Broadcast(std::string* bytes) = 0;
  virtual void Send(int to, const std::string& bytes) = 0;
  virtual std::string Receive(int from) = 0;
};

// A process by itself.
class SingleRank final : public Ranks {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_size() const override { return 1; }
  void Broadcast(std::string* /*bytes*/) override {}
  void Send(int /*to*/, const std::string& /*bytes*/) override {}
  std::string Receive(int /*from*/) override { return ""; }
};

}  // namespace haarflow
