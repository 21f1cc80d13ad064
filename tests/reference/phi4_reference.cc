#include "tests/reference/phi4_reference.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace haarflow::reference {
namespace {

const double kPi = std::acos(-1.0);

int64_t Sites(const Shape& shape) {
  int64_t sites = 1;
  for (int64_t extent : shape) sites *= extent;
  return sites;
}

Shape Position(const Shape& shape, int64_t index) {
  Shape position(shape.size());
  for (int axis = static_cast<int>(shape.size()) - 1; axis >= 0; --axis) {
    position[axis] = index % shape[axis];
    index /= shape[axis];
  }
  return position;
}

std::vector<Shape> Positions(const Shape& shape) {
  std::vector<Shape> positions;
  for (int64_t x = 0; x < Sites(shape); ++x) positions.push_back(Position(shape, x));
  return positions;
}

int64_t SiteAt(const Shape& shape, const Shape& position) {
  int64_t index = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    index = index * shape[axis] + (position[axis] % shape[axis] + shape[axis]) % shape[axis];
  }
  return index;
}

int64_t Next(const Shape& shape, int64_t site, size_t axis) {
  Shape position = Position(shape, site);
  ++position[axis];
  return SiteAt(shape, position);
}

double Dot(const Shape& shape, int components, const Field& field, int64_t x, int64_t y) {
  const int64_t volume = Sites(shape);
  double dot = 0;
  for (int a = 0; a < components; ++a) dot += field[a * volume + x] * field[a * volume + y];
  return dot;
}

}  // namespace

Field RandomScalar(const Shape& shape, int components, std::mt19937_64* random) {
  std::normal_distribution<double> normal;
  Field field(components * Sites(shape));
  for (double& phi : field) phi = normal(*random);
  return field;
}

double Phi4Action(const Shape& shape, const Phi4& theory, const Field& field) {
  const int64_t volume = Sites(shape);
  double action = 0;
  for (int64_t x = 0; x < volume; ++x) {
    const double square = Dot(shape, theory.components, field, x, x);
    action += theory.lambda * square * square;
    if (theory.hopping_form) {
      action += (1 - 2 * theory.lambda) * square;
    } else {
      action += theory.normalisation * theory.m2 * square;
    }
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      const int64_t y = Next(shape, x, axis);
      for (int a = 0; a < theory.components; ++a) {
        const double here = field[a * volume + x], there = field[a * volume + y];
        action += theory.hopping_form ? -2 * theory.kappa * here * there
                                      : theory.normalisation * (there - here) * (there - here);
      }
    }
  }
  return action;
}

Field Phi4ActionGradient(const Shape& shape, const Phi4& theory, const Field& field) {
  constexpr double kStep = 0.5;
  Field gradient(field.size());
  for (size_t i = 0; i < field.size(); ++i) {
    const auto moved = [&](double by) {
      Field f = field;
      f[i] += by;
      return Phi4Action(shape, theory, f);
    };
    gradient[i] = (8 * (moved(kStep) - moved(-kStep)) - (moved(2 * kStep) - moved(-2 * kStep))) / (12 * kStep);
  }
  return gradient;
}

double PhiSquared(const Shape& shape, int components, const Field& field) {
  double sum = 0;
  for (int64_t x = 0; x < Sites(shape); ++x) sum += Dot(shape, components, field, x, x);
  return sum / static_cast<double>(Sites(shape));
}

double PhiFourth(const Shape& shape, int components, const Field& field) {
  double sum = 0;
  for (int64_t x = 0; x < Sites(shape); ++x) sum += std::pow(Dot(shape, components, field, x, x), 2);
  return sum / static_cast<double>(Sites(shape));
}

double NeighbourSum(const Shape& shape, int components, const Field& field) {
  double sum = 0;
  for (int64_t x = 0; x < Sites(shape); ++x) {
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      sum += Dot(shape, components, field, x, Next(shape, x, axis));
    }
  }
  return sum / static_cast<double>(Sites(shape));
}

Field Magnetisation(const Shape& shape, int components, const Field& field) {
  Field m(components, 0.0);
  for (int a = 0; a < components; ++a) {
    for (int64_t x = 0; x < Sites(shape); ++x) m[a] += field[a * Sites(shape) + x] / static_cast<double>(Sites(shape));
  }
  return m;
}

double Susceptibility(const Shape& shape, int components, const Field& field) {
  double sum = 0;
  for (int64_t x = 0; x < Sites(shape); ++x) {
    for (int64_t y = 0; y < Sites(shape); ++y) sum += Dot(shape, components, field, x, y);
  }
  return sum / static_cast<double>(Sites(shape));
}

double StructureFactorMin(const Shape& shape, int components, const Field& field) {
  const int64_t largest = *std::max_element(shape.begin(), shape.end());
  const std::vector<Shape> position = Positions(shape);
  double sum = 0;
  int directions = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] != largest) continue;
    ++directions;
    for (int64_t x = 0; x < Sites(shape); ++x) {
      for (int64_t y = 0; y < Sites(shape); ++y) {
        const double steps = static_cast<double>(position[x][axis] - position[y][axis]);
        sum += Dot(shape, components, field, x, y) * std::cos(2 * kPi * steps / static_cast<double>(largest));
      }
    }
  }
  return sum / (directions * static_cast<double>(Sites(shape)));
}

double TwoPoint(const Shape& shape, int components, const Field& field, int64_t t) {
  const std::vector<Shape> position = Positions(shape);
  double sum = 0;
  for (int64_t x = 0; x < Sites(shape); ++x) {
    for (int64_t y = 0; y < Sites(shape); ++y) {
      if ((position[y][0] - position[x][0] - t) % shape[0] == 0) {
        sum += Dot(shape, components, field, x, y);
      }
    }
  }
  return sum / static_cast<double>(Sites(shape));
}

FreeField SolveFreeField(const Shape& shape, const Phi4& theory) {
  const int64_t n = theory.components * Sites(shape);
  const auto action_of = [&](int64_t i, int64_t j) {
    Field unit(n, 0.0);
    unit[i] += 1;
    if (j != i) unit[j] += 1;
    return Phi4Action(shape, theory, unit);
  };
  // A and, beside it, the unit matrix that elimination turns into A^-1.
  std::vector<double> a(n * n), inverse(n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      a[i * n + j] = i == j ? action_of(i, i) : (action_of(i, j) - action_of(i, i) - action_of(j, j)) / 2;
    }
    inverse[i * n + i] = 1;
  }
  FreeField free;
  free.log_z = 0.5 * static_cast<double>(n) * std::log(kPi);
  for (int64_t k = 0; k < n; ++k) {  // positive definite: no pivots are needed
    const double pivot = a[k * n + k];
    free.log_z -= 0.5 * std::log(pivot);
    for (int64_t j = 0; j < n; ++j) {
      a[k * n + j] /= pivot;
      inverse[k * n + j] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double factor = a[i * n + k];
      if (i == k || factor == 0) continue;
      for (int64_t j = 0; j < n; ++j) {
        a[i * n + j] -= factor * a[k * n + j];
        inverse[i * n + j] -= factor * inverse[k * n + j];
      }
    }
  }
  for (double& x : inverse) x /= 2;
  free.covariance = std::move(inverse);
  return free;
}

}  // namespace haarflow::reference
