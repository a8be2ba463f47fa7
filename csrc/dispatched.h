// Operators as the dispatcher knows them, for what is made of operators itself: derivatives.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <initializer_list>
#include <optional>
#include <tuple>

namespace dlbench {

template <typename Schema>
c10::TypedOperatorHandle<Schema> find(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Schema>();
}

// Derivatives are there in reverse mode only; one that is missing is an error, never a zero.
inline void refuse_forward_mode(const char* name, std::initializer_list<at::Tensor> inputs) {
  for (const at::Tensor& t : inputs)
    TORCH_CHECK_NOT_IMPLEMENTED(!t.defined() || !t._fw_grad(0).defined(), name,
                                ": derivatives in reverse mode only (torch.autograd.grad)");
}

using Transpose = std::tuple<at::Tensor, at::Tensor, at::Tensor>;  // rowptr, col, edge_id

inline Transpose transpose_of(const at::Tensor& rowptr, const at::Tensor& col, const std::optional<at::Tensor>& edge_id,
                              const c10::SymInt& num_src) {
  using Schema = Transpose(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, c10::SymInt);
  static const auto op = find<Schema>("dlbench::csr_transpose");
  return op.call(rowptr, col, edge_id, num_src);
}

}  // namespace dlbench
