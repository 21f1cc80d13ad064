// What follows from a link program's operations.
#pragma once

#include <cstdint>

#include "core/flow/link_program.h"

namespace haarflow {

// Second derivatives: for every pair of a monomial's loops, what is left of it.
void AddPairs(LinkProgram* program);

// Matrices share memory where one is last read before the other is written.
void AssignSlots(int32_t matrices, LinkProgram* program);

}  // namespace haarflow
