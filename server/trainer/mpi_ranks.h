// Whether this process was started as one of several, by mpirun or srun, and the ranks it then is one of.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "core/train/ranks.h"

namespace haarflow {

// A SingleRank when it was started alone. FAILED_PRECONDITION when it was not, and there is no MPI module of this
// version: every process would train the same model by itself.
absl::StatusOr<std::unique_ptr<Ranks>> JoinRanks(int* argc, char*** argv);

// Threads of one rank unless told otherwise: the cores that it may use, or its part of the machine's.
int DefaultThreads(const Ranks& ranks);

}  // namespace haarflow
