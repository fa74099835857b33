// Small dense linear algebra: a few unknowns, symmetric matrices.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace pyprof {

class Matrix {
 public:
  explicit Matrix(size_t size = 0) : size_(size), values_(size * size) {}
  double& operator()(size_t i, size_t j) { return values_[i * size_ + j]; }
  double operator()(size_t i, size_t j) const { return values_[i * size_ + j]; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  std::vector<double> values_;
};

// Of a symmetric positive definite matrix; false if it isn't one.
bool invert(const Matrix& matrix, Matrix& inverse);
// The x >= 0 that makes the least of x'Mx/2 - b'x; false if the matrix is singular.
bool solve_not_negative(const Matrix& matrix, std::span<const double> right,
                        std::vector<double>& x);
std::vector<double> eigenvalues(Matrix symmetric);
// The greatest x'Ax / x'Bx of a diagonal A and a positive definite B; 1 if B is singular.
double largest_ratio(const Matrix& diagonal, const Matrix& matrix);
// Values of the parabola through (x, y) by least squares, at each x.
std::vector<double> fit_quadratic(std::span<const double> x, std::span<const double> y);

}  // namespace pyprof
