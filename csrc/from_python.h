// What the short ways from Python ask of their arguments.
#pragma once
#include <ATen/core/Tensor.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/autograd/python_variable.h>

namespace dlbench {

// Tensors whose class has no say in what is done to them.
inline bool is_plain(pybind11::handle object) { return THPVariable_CheckExact(object.ptr()); }

inline bool is_float(const at::Tensor& t) {
  const at::ScalarType type = t.scalar_type();
  return type == at::kFloat || type == at::kDouble || type == at::kBFloat16 || type == at::kHalf;
}

}  // namespace dlbench
