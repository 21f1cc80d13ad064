#include "core/kernel/scalar_store.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace haarflow::kernel {
namespace {

constexpr int64_t kMaxSites = int64_t{1} << 26;

// Arrays of the store that Update writes to.
double* Mutable(const double* p) { return const_cast<double*>(p); }

int32_t MapParameters(const hf_scalar_coupling& layer) {
  return layer.map == HF_LINE_SPLINE ? 3 * layer.pieces + 1 : 2;
}

}  // namespace

int64_t ScalarFlowStore::max_extent() const {
  int32_t extent = 1;
  for (int32_t a = 0; a < flow_.geometry.dims; ++a) extent = std::max(extent, flow_.geometry.axis[a].extent);
  return extent;
}

void ScalarFlowStore::MakeAxis(int32_t extent, CasAxis* axis) {
  std::vector<double> twiddles, table;
  axis->extent = extent;
  axis->levels = 0;
  int32_t n = extent;
  for (; n % 2 == 0; n /= 2, ++axis->levels) {
    for (int32_t k = 0; k < n / 2; ++k) {
      twiddles.push_back(std::cos(2 * std::numbers::pi * k / n));
      twiddles.push_back(std::sin(2 * std::numbers::pi * k / n));
    }
  }
  axis->base = n;
  for (int32_t k = 1; k <= n / 2; ++k) {
    for (int32_t j = 1; j <= n / 2; ++j) {
      const double angle = 2 * std::numbers::pi * (int64_t{j} * k % n) / n;
      table.push_back(std::cos(angle));
      table.push_back(std::sin(angle));
    }
  }
  axis->twiddles = arrays_.Keep(twiddles);
  axis->table = arrays_.Keep(table);
}

std::string ScalarFlowStore::CopyGeometry(const hf_scalar_flow& flow) {
  ScalarGeometry& g = flow_.geometry;
  if (flow.dims < 1 || flow.dims > 4) return "1 to 4 dimensions are possible";
  if (flow.components < 1 || flow.components > 2) return "1 or 2 components are possible";
  g.dims = flow.dims;
  g.components = flow.components;
  int64_t sites = 1;
  bool even = true;
  for (int32_t a = 0; a < flow.dims; ++a) {
    if (flow.shape[a] < 2 || flow.shape[a] > kMaxSites) return "extents must be at least 2";
    sites *= flow.shape[a];
    if (sites > kMaxSites) return "too many sites";
    even = even && flow.shape[a] % 2 == 0;
  }
  g.sites = static_cast<int32_t>(sites);
  for (int32_t a = 0; a < flow.dims; ++a) MakeAxis(flow.shape[a], &g.axis[a]);
  if (flow.heat_bath != 0 && (!even || flow.components != 1)) {
    return "the heat bath needs even extents and one component";
  }
  std::vector<int32_t> neighbour, active, drawn;
  for (int32_t x = 0; x < g.sites; ++x) {
    int32_t parity = 0, opposite = 0;
    for (const int32_t step : {1, -1}) {
      int32_t stride = 1;
      for (int32_t a = g.dims - 1; a >= 0; --a) {
        const int32_t extent = flow.shape[a], coordinate = x / stride % extent;
        neighbour.push_back(x + ((coordinate + step + extent) % extent - coordinate) * stride);
        if (step == 1) {
          parity += coordinate;
          opposite += (coordinate + extent / 2) % extent * stride;
        }
        stride *= extent;
      }
    }
    if (flow.heat_bath != 0) opposite_.push_back(opposite);
    (flow.heat_bath != 0 && parity % 2 == 1 ? drawn : active).push_back(x);
  }
  g.neighbour = arrays_.Keep(neighbour);
  flow_.active = static_cast<int32_t>(active.size());
  flow_.active_sites = arrays_.Keep(active);
  flow_.drawn = static_cast<int32_t>(drawn.size());
  flow_.drawn_sites = arrays_.Keep(drawn);
  return "";
}

std::string ScalarFlowStore::CopyContinuous(const hf_scalar_continuous& layer, ContinuousTables* tables) {
  if (layer.features < 1 || layer.steps < 1 || layer.steps > 4096 || layer.orbits < 1) return "sizes must be positive";
  tables->flow = layer;
  tables->flow.orbit = arrays_.Keep(layer.orbit, flow_.geometry.sites);
  for (int32_t k = 0; k < flow_.geometry.sites; ++k) {
    if (layer.orbit[k] < 0 || layer.orbit[k] >= layer.orbits) return "a momentum has an unknown orbit";
  }
  for (int32_t f = 0; f < layer.features; ++f) {
    if (!(layer.frequency[f] >= 0)) return "frequencies must not be negative";
  }
  const int64_t times = 2 * int64_t{layer.steps} + 1;
  tables->flow.frequency = arrays_.Keep(layer.frequency, layer.features);
  tables->flow.kernel = arrays_.Keep(layer.kernel, times * layer.features * layer.orbits);
  tables->at_origin = arrays_.Keep(std::vector<double>(times * layer.features));
  SetContinuous(layer, *tables);
  return "";
}

void ScalarFlowStore::SetContinuous(const hf_scalar_continuous& layer, const ContinuousTables& tables) {
  const int32_t sites = flow_.geometry.sites;
  const int64_t rows = (2 * int64_t{layer.steps} + 1) * layer.features;
  std::copy_n(layer.frequency, layer.features, Mutable(tables.flow.frequency));
  std::vector<double> size(layer.orbits);
  for (int32_t k = 0; k < sites; ++k) size[tables.flow.orbit[k]] += 1;
  for (int64_t r = 0; r < rows; ++r) {
    const double* in = layer.kernel + r * layer.orbits;
    double* out = Mutable(tables.flow.kernel) + r * layer.orbits;
    double sum = 0;
    for (int32_t o = 0; o < layer.orbits; ++o) {
      out[o] = in[o] / sites;
      sum += size[o] * out[o];
    }
    Mutable(tables.at_origin)[r] = sum;
  }
}

std::string ScalarFlowStore::CopyCoupling(hf_scalar_coupling* layer) {
  const int32_t sites = flow_.geometry.sites;
  if (flow_.geometry.components != 1) return "couplings transform one component";
  if (flow_.heat_bath != nullptr) return "couplings do not go with a heat bath";
  if (layer->active < 0 || layer->features < 0) return "sizes must not be negative";
  std::vector<bool> active(sites);
  layer->active_sites = arrays_.Keep(layer->active_sites, layer->active);
  for (int32_t i = 0; i < layer->active; ++i) {
    const int32_t site = layer->active_sites[i];
    if (site < 0 || site >= sites || active[site]) return "an active site is unknown or appears twice";
    active[site] = true;
  }
  layer->feature_begin = arrays_.Keep(layer->feature_begin, int64_t{layer->features} + 1);
  if (layer->feature_begin[0] != 0) return "feature offsets do not start at 0";
  for (int32_t f = 0; f < layer->features; ++f) {
    if (layer->feature_begin[f] > layer->feature_begin[f + 1]) return "feature offsets decrease";
  }
  const int32_t terms = layer->feature_begin[layer->features];
  layer->feature_sites = arrays_.Keep(layer->feature_sites, terms);
  for (int32_t t = 0; t < terms; ++t) {
    const int32_t site = layer->feature_sites[t];
    if (site < 0 || site >= sites || active[site]) return "a feature reads an unknown or an active site";
  }
  if (layer->map < HF_LINE_AFFINE || layer->map > HF_LINE_SPLINE) return "unknown line map";
  if (layer->map == HF_LINE_SPLINE && (layer->pieces < 2 || layer->pieces > 64 || !(layer->range > 0))) {
    return "a spline has 2 to 64 bins and a positive range";
  }
  max_features_ = std::max(max_features_, int64_t{layer->features});
  return networks_.Copy(&layer->stage, layer->stages, layer->features, layer->double_network != 0, layer->active,
                        MapParameters(*layer), &arrays_);
}

// With a heat bath nothing may move from even to odd sites: numbers of momenta k and k + (pi, ..., pi) agree.
std::string ScalarFlowStore::CheckHalfPeriod() const {
  const auto differ = [](double a, double b) { return std::abs(a - b) > 1e-10 * (std::abs(a) + std::abs(b)) + 1e-14; };
  for (size_t k = 0; k < opposite_.size(); ++k) {
    if (differ(flow_.prior.sigma[k], flow_.prior.sigma[opposite_[k]])) return "sigma mixes even and odd sites";
    for (const auto& tables : continuous_) {
      const hf_scalar_continuous& c = tables->flow;
      for (int64_t r = 0; r < (2 * int64_t{c.steps} + 1) * c.features; ++r) {
        const double* kernel = c.kernel + r * c.orbits;
        if (differ(kernel[c.orbit[k]], kernel[c.orbit[opposite_[k]]])) return "a kernel mixes even and odd sites";
      }
    }
  }
  return "";
}

std::string ScalarFlowStore::Copy(const hf_scalar_flow& flow) {
  if (std::string e = CopyGeometry(flow); !e.empty()) return e;
  if (flow.layers < 0) return "a negative number of layers";
  flow_.prior.fourier = flow.prior.fourier;
  flow_.prior.sigma = arrays_.Keep(flow.prior.sigma, flow_.geometry.sites);
  for (int32_t k = 0; k < flow_.geometry.sites; ++k) {
    if (!(flow.prior.sigma[k] > 0) || !std::isfinite(flow.prior.sigma[k])) return "sigma must be positive";
  }
  if (flow.heat_bath != 0) {
    const double* c = flow.heat_bath_couplings;
    const bool finite = std::isfinite(c[0]) && std::isfinite(c[1]) && std::isfinite(c[2]);
    if (!finite || c[2] < 0 || (c[2] == 0 && c[1] <= 0)) return "the heat bath's density cannot be normalised";
    heat_bath_ = std::make_unique<HeatBathStore>(c[0], c[1], c[2]);
    flow_.heat_bath = &heat_bath_->view();
    std::copy_n(c, 3, heat_bath_couplings_);
  }
  for (int32_t l = 0; l < flow.layers; ++l) {
    const hf_scalar_layer& layer = flow.layer[l];
    std::string e = "exactly one kind must be set";
    if (layer.continuous != nullptr && layer.coupling == nullptr) {
      continuous_.push_back(std::make_unique<ContinuousTables>());
      e = CopyContinuous(*layer.continuous, continuous_.back().get());
      layers_.push_back({nullptr, continuous_.back().get()});
    } else if (layer.continuous == nullptr && layer.coupling != nullptr) {
      couplings_.push_back(std::make_unique<hf_scalar_coupling>(*layer.coupling));
      e = CopyCoupling(couplings_.back().get());
      layers_.push_back({couplings_.back().get(), nullptr});
    }
    if (!e.empty()) return "layer " + std::to_string(l) + ": " + e;
  }
  flow_.layers = flow.layers;
  flow_.layer = layers_.data();
  Update(flow);
  return CheckHalfPeriod();
}

void ScalarFlowStore::Update(const hf_scalar_flow& flow) {
  std::copy_n(flow.prior.sigma, flow_.geometry.sites, Mutable(flow_.prior.sigma));
  double sum = 0;
  for (int32_t k = 0; k < flow_.geometry.sites; ++k) sum += std::log(flow.prior.sigma[k]);
  // With a heat bath only half of the modes are there; independent sites count where they are active.
  flow_.prior_log_volume = flow_.geometry.components * (flow_.heat_bath != nullptr ? 0.5 * sum : sum);
  for (int32_t l = 0; l < flow.layers; ++l) {
    if (flow.layer[l].continuous != nullptr) SetContinuous(*flow.layer[l].continuous, *layers_[l].continuous);
  }
  const double* c = flow.heat_bath_couplings;
  if (flow_.heat_bath != nullptr && !std::equal(c, c + 3, heat_bath_couplings_)) {
    heat_bath_ = std::make_unique<HeatBathStore>(c[0], c[1], c[2]);
    flow_.heat_bath = &heat_bath_->view();
    std::copy_n(c, 3, heat_bath_couplings_);
  }
}

ScalarScratch::ScalarScratch(const ScalarFlowStore& flow) {
  const auto rows = [this](int64_t n) {
    buffers_.push_back(Allocate<double>(n * kTile));
    return buffers_.back().get();
  };
  const int64_t field = flow.field_rows();
  view_.field = rows(field);
  for (double*& p : view_.rk) p = rows(field);
  for (double*& p : view_.work) p = rows(field);
  view_.lines = rows(2 * flow.max_extent());
  view_.features = rows(flow.max_features());
  for (void*& p : view_.stage) p = rows(flow.max_network_rows());
  view_.reflected = rows(flow.max_network_rows());
}

}  // namespace haarflow::kernel
