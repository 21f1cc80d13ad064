// A U(1) flow as tables: which links are active, which loops are transformed and which feed the network, and which
// sites each convolution must be evaluated at. Made once per model; drawing, inverting and training all run from these
// tables.
//
// Only what the active links need is listed: masked sites cost nothing, and a loop through an active link is not a
// feature.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/kernel/table.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// Closed paths in compressed rows; a signed link is 2 * link + (1 if traversed backwards).
struct LoopTable {
  std::vector<int32_t> begin = {0};
  std::vector<int32_t> links;

  int32_t size() const { return static_cast<int32_t>(begin.size()) - 1; }
  void Add(const Path& path);
  hf_loops View() const { return {size(), begin.data(), links.data()}; }
};

// One convolution, see hf_stage. Weights are [weight_blocks * rows_per_tap][out_channels] = [taps of the kernel][in
// channels][out].
struct StagePlan {
  int32_t sites = 0;
  int32_t in_channels = 0;
  int32_t out_channels = 0;
  int32_t rows_per_tap = 0;
  int32_t weight_blocks = 0;
  int32_t kernel_taps = 0;
  int32_t activation = HF_ACTIVATION_NONE;
  std::vector<int32_t> tap_begin = {0};
  std::vector<int32_t> tap_input;
  std::vector<int32_t> tap_weight;
  std::string name;  // of its tensors: name + ".weight" [taps, in, out], name + ".bias" [out]
};

// Of all tables of a model: 1 GiB. Larger ones are a mistake in the spec, or an attack on memory.
constexpr int64_t kMaxTableEntries = int64_t{1} << 28;
absl::Status TablesTooLarge(const std::string& layer);

// Displacements of a kernel of odd extent k, in array order, and the site that one of them leads to.
std::vector<std::vector<int64_t>> KernelTaps(int dims, int64_t k);
int64_t Displace(const Lattice& lattice, int64_t site, const std::vector<int64_t>& tap);

// The convolutions of a layer's network, from the last, which gives `parameters` channels at `*sites`, to the first; on
// return `*sites` are those where the first is needed. The first lacks its taps and what they read: in_channels,
// rows_per_tap, weight_blocks. `name` is the layer's.
absl::StatusOr<std::vector<StagePlan>> PlanNetwork(const Lattice& lattice, const v1::Network& network,
                                                   int32_t parameters, const std::string& name,
                                                   std::vector<int64_t>* sites);

// What coupling layers of links have in common.
struct LinkCoupling {
  const v1::LinkMask& mask;
  const v1::LoopShape* active_loop;                                   // null: the plaquette
  const google::protobuf::RepeatedPtrField<v1::LoopShape>& features;  // none: one loop of no links, a constant
  const v1::Network& network;
  int32_t rows_per_loop;  // of features
  int32_t parameters;     // of one active link's map
  std::string name;       // of the layer, in messages and tensors
};
struct LinkCouplingPlan {
  std::vector<int32_t> active_links;
  LoopTable active_loops;
  LoopTable features;
  std::vector<StagePlan> stages;
  bool double_network = false;
  bool starts_as_identity = true;
};
// INVALID_ARGUMENT, naming layer and link, where an active loop contains a second active link or its own more than
// once.
absl::StatusOr<LinkCouplingPlan> PlanLinkCoupling(const Lattice& lattice, const LinkCoupling& coupling);

struct U1LayerPlan : LinkCouplingPlan {
  int32_t map = HF_MAP_SPLINE;
  int32_t pieces = 0;
};

struct U1FlowPlan {
  Lattice lattice;
  std::vector<U1LayerPlan> layers;
  LoopTable plaquettes;

  // Multiply-adds of all networks for one configuration: the arithmetic floor of a draw.
  int64_t multiply_adds() const;
  // Size of all tables, in 32-bit numbers.
  int64_t table_entries() const;
};

// Requires a spec that ValidateSpec accepts. INVALID_ARGUMENT, naming layer and link, where an active loop contains a
// second active link or its own more than once, or where the tables would exceed 2^28 entries.
absl::StatusOr<U1FlowPlan> PlanU1Flow(const v1::ModelSpec& spec);

// Number of unconstrained parameters of a circle map.
int32_t CircleMapParameterCount(int32_t map, int32_t pieces);

}  // namespace haarflow
