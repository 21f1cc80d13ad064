// U(1) lattice gauge theory in plain loops: the oracle that the code in core/ is tested against. Shares nothing with
// core/.
//
// A field is angles in C order [mu, ..., y, x]; `shape` is [..., y, x]; direction mu moves along axis dims - 1 - mu.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace haarflow::reference {

using Shape = std::vector<int64_t>;
using Field = std::vector<double>;

int64_t Volume(const Shape& shape);
int64_t Links(const Shape& shape);

// The angle of the `width` x `height` loop in the (mu, nu) plane with lower left corner `site` (coordinates in array
// order), link by link around: +mu, +nu, -mu, -nu. Not reduced mod 2 pi.
double LoopAngle(const Shape& shape, const Field& links, Shape site, int mu, int nu, int64_t width, int64_t height);

// sum over sites and planes mu < nu of cos theta_P.
double PlaquetteSum(const Shape& shape, const Field& links);
// S = -beta sum_P cos theta_P.
double Action(const Shape& shape, double beta, const Field& links);
// Mean of cos over all `r` x `t` rectangles: every site, every ordered pair mu != nu.
double WilsonLoop(const Shape& shape, const Field& links, int64_t r, int64_t t);
// (1/2pi) sum_P arg(e^{i theta_P}) in two dimensions, not rounded.
double Charge(const Shape& shape, const Field& links);
// dS/dtheta by central differences.
Field Gradient(const Shape& shape, double beta, const Field& links);

// Every link uniform in [-pi, pi).
Field RandomField(const Shape& shape, std::mt19937_64* random);

// The exact sampler of the two-dimensional torus: plaquettes are independent von Mises angles apart from one closure,
// holonomies are uniform. V - 1 plaquettes are drawn from exp(beta cos), the last is minus their sum, all are accepted
// with exp(beta (cos(last) - 1)); then links with these plaquettes, two uniform holonomies, and a random gauge.
Field PerfectSample2d(const Shape& shape, double beta, std::mt19937_64* random);

}  // namespace haarflow::reference
