#include "core/linear.h"

#include <algorithm>
#include <cmath>

namespace pyprof {
namespace {

constexpr double kSingular = 1e-12;  // of the diagonal

// Lower triangle of the matrix's root, of the rows and columns in `which`.
bool cholesky(const Matrix& matrix, std::span<const size_t> which, Matrix& root) {
  const size_t n = which.size();
  root = Matrix(n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = matrix(which[i], which[j]);
      for (size_t k = 0; k < j; ++k) sum -= root(i, k) * root(j, k);
      if (i != j) {
        root(i, j) = sum / root(j, j);
        continue;
      }
      if (!(sum > kSingular * matrix(which[i], which[i]))) return false;
      root(i, i) = std::sqrt(sum);
    }
  }
  return true;
}

void substitute(const Matrix& root, std::span<double> x) {
  const size_t n = root.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) x[i] -= root(i, k) * x[k];
    x[i] /= root(i, i);
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) x[i] -= root(k, i) * x[k];
    x[i] /= root(i, i);
  }
}

std::vector<size_t> all_of(size_t n) {
  std::vector<size_t> which(n);
  for (size_t i = 0; i < n; ++i) which[i] = i;
  return which;
}

}  // namespace

bool invert(const Matrix& matrix, Matrix& inverse) {
  const size_t n = matrix.size();
  Matrix root;
  if (!cholesky(matrix, all_of(n), root)) return false;
  inverse = Matrix(n);
  std::vector<double> column(n);
  for (size_t j = 0; j < n; ++j) {
    std::fill(column.begin(), column.end(), 0.0);
    column[j] = 1;
    substitute(root, column);
    for (size_t i = 0; i < n; ++i) inverse(i, j) = column[i];
  }
  return true;
}

bool solve_not_negative(const Matrix& matrix, std::span<const double> right,
                        std::vector<double>& x) {
  std::vector<size_t> which = all_of(matrix.size());
  x.assign(matrix.size(), 0);
  while (!which.empty()) {
    Matrix root;
    if (!cholesky(matrix, which, root)) return false;
    std::vector<double> part(which.size());
    for (size_t i = 0; i < which.size(); ++i) part[i] = right[which[i]];
    substitute(root, part);
    const auto least = std::min_element(part.begin(), part.end());
    if (*least >= 0) {
      for (size_t i = 0; i < which.size(); ++i) x[which[i]] = part[i];
      return true;
    }
    which.erase(which.begin() + (least - part.begin()));
  }
  return true;
}

// Jacobi's rotations.
std::vector<double> eigenvalues(Matrix a) {
  const size_t n = a.size();
  for (int sweep = 0; sweep < 60; ++sweep) {
    double off = 0, on = 0;
    for (size_t i = 0; i < n; ++i) {
      on += a(i, i) * a(i, i);
      for (size_t j = 0; j < i; ++j) off += a(i, j) * a(i, j);
    }
    if (!(off > 1e-24 * on)) break;
    for (size_t p = 0; p + 1 < n; ++p) {
      for (size_t q = p + 1; q < n; ++q) {
        if (a(p, q) == 0) continue;
        const double theta = (a(q, q) - a(p, p)) / (2 * a(p, q));
        const double t = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (size_t k = 0; k < n; ++k) {
          const double left = a(k, p), right = a(k, q);
          a(k, p) = c * left - s * right;
          a(k, q) = s * left + c * right;
        }
        for (size_t k = 0; k < n; ++k) {
          const double left = a(p, k), right = a(q, k);
          a(p, k) = c * left - s * right;
          a(q, k) = s * left + c * right;
        }
      }
    }
  }
  std::vector<double> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = a(i, i);
  return values;
}

double largest_ratio(const Matrix& diagonal, const Matrix& matrix) {
  const size_t n = matrix.size();
  Matrix inverse;
  if (!invert(matrix, inverse)) return 1;
  Matrix between(n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      between(i, j) = std::sqrt(diagonal(i, i) * diagonal(j, j)) * inverse(i, j);
    }
  }
  const std::vector<double> values = eigenvalues(between);
  return *std::max_element(values.begin(), values.end());
}

std::vector<double> fit_quadratic(std::span<const double> x, std::span<const double> y) {
  const double middle = 0.5 * (x.front() + x.back());
  const double half = std::max(0.5 * (x.back() - x.front()), 1e-12);
  Matrix normal(3);
  std::vector<double> right(3), found;
  for (size_t k = 0; k < x.size(); ++k) {
    const double u = (x[k] - middle) / half, powers[3] = {1, u, u * u};
    for (size_t i = 0; i < 3; ++i) {
      right[i] += powers[i] * y[k];
      for (size_t j = 0; j < 3; ++j) normal(i, j) += powers[i] * powers[j];
    }
  }
  Matrix root;
  std::vector<double> fitted(x.size(), 1.0);
  if (!cholesky(normal, all_of(3), root)) return fitted;
  substitute(root, right);
  for (size_t k = 0; k < x.size(); ++k) {
    const double u = (x[k] - middle) / half;
    fitted[k] = right[0] + right[1] * u + right[2] * u * u;
  }
  return fitted;
}

}  // namespace pyprof
