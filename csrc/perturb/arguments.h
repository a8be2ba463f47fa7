// What the CPU's and the GPU's glue of the steps have in common: the checks, one order in memory for all tensors, and
// the limits rounded to the state's type in the direction that keeps the bounds exact.
#pragma once
#include <ATen/MemoryOverlap.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_strided.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "perturb/limits.h"
#include "perturb/observe.h"

namespace dlbench {

using OptionalTensor = std::optional<at::Tensor>;

template <typename Real>
Real rounded_down(double value) {
  const Real nearest = static_cast<Real>(value);
  return nearest > value ? std::nextafter(nearest, -std::numeric_limits<Real>::infinity()) : nearest;
}

template <typename Real>
Limits<Real> limits_of(double eps, double step_size, double lower, double upper) {
  TORCH_CHECK_VALUE(eps >= 0 && std::isfinite(eps), "eps must be finite and at least 0, not ", eps);
  TORCH_CHECK_VALUE(std::isfinite(step_size), "step_size must be finite, not ", step_size);
  constexpr Real largest = std::numeric_limits<Real>::max();
  // An infinite bound is no bound; as the largest number it is one that arithmetic cannot cross either.
  const Limits<Real> limits{rounded_down<Real>(eps), static_cast<Real>(step_size),
                            std::max(-rounded_down<Real>(-lower), -largest), std::min(rounded_down<Real>(upper), largest)};
  TORCH_CHECK_VALUE(limits.lower <= limits.upper, "no number of the state's type lies between lower ", lower,
                    " and upper ", upper);
  return limits;
}

struct StepArguments {
  at::Tensor x_adv, x, grad;
  Batch batch;                      // where `table`, `hash` or `tally` are given, how the samples lie
  OptionalTensor table, hash, tally;
  uint64_t infinity, smallest_normal;  // their bits in grad's type

  // f(Real, Bits), by values that only carry their types.
  template <typename F>
  void visit(F f) const {
    x_adv.scalar_type() == at::kFloat ? visit_grad(f, float()) : visit_grad(f, double());
  }

  // Whether all elements are treated alike, so that it does not matter which sample they belong to.
  bool uniform() const { return !table && !hash && !tally; }

  template <typename Real>
  LimitsTable<Real> limits_table(const at::Tensor& values) const {
    return {values.const_data_ptr<Real>(), values.size(1), values.size(2)};
  }

  Observers observers() const {
    return {hash ? reinterpret_cast<uint64_t*>(hash->mutable_data_ptr<int64_t>()) : nullptr,
            tally ? tally->mutable_data_ptr<int64_t>() : nullptr};
  }

  template <typename Bits>
  FloatBits<Bits> kind() const {
    return {static_cast<Bits>(infinity), static_cast<Bits>(smallest_normal)};
  }

 private:
  template <typename F, typename Real>
  void visit_grad(F f, Real real) const {
    switch (grad.element_size()) {
      case 2:
        return f(real, uint16_t());
      case 4:
        return f(real, uint32_t());
      default:
        return f(real, uint64_t());
    }
  }
};

inline void set_float_bits(StepArguments& args) {
  switch (args.grad.scalar_type()) {
    case at::kHalf:
      args.infinity = 0x7c00, args.smallest_normal = 0x0400;
      return;
    case at::kBFloat16:
      args.infinity = 0x7f80, args.smallest_normal = 0x0080;
      return;
    case at::kFloat:
      args.infinity = 0x7f800000, args.smallest_normal = 0x00800000;
      return;
    case at::kDouble:
      args.infinity = 0x7ff0000000000000, args.smallest_normal = 0x0010000000000000;
      return;
    default:
      TORCH_CHECK_TYPE(false, "grad must be float64, float32, bfloat16 or float16, not ", args.grad.scalar_type());
  }
}

// `tensor`, or its copy, with its elements where those of `like` lie.
inline at::Tensor laid_out_as(const at::Tensor& tensor, const at::Tensor& like) {
  if (tensor.strides() == like.strides()) return tensor;
  return at::empty_strided(like.sizes(), like.strides(), tensor.options()).copy_(tensor);
}

inline bool is_channels_last(const at::Tensor& x) {
  return (x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast)) ||
         (x.dim() == 5 && x.is_contiguous(at::MemoryFormat::ChannelsLast3d));
}

// How the samples of a tensor lie that is contiguous, or channels-last.
inline Batch batch_of(const at::Tensor& x) {
  const int64_t samples = x.dim() > 0 ? x.size(0) : 1, channels = x.dim() > 1 ? x.size(1) : 1;
  const int64_t rest = samples * channels;
  return {samples, channels, rest > 0 ? x.numel() / rest : 0, !x.is_contiguous() && is_channels_last(x)};
}

inline void check_state(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad) {
  TORCH_CHECK_TYPE(x_adv.scalar_type() == at::kFloat || x_adv.scalar_type() == at::kDouble,
                   "x_adv must be float32 or float64, not ", x_adv.scalar_type());
  TORCH_CHECK_TYPE(x.scalar_type() == x_adv.scalar_type(), "x is ", x.scalar_type(), " but x_adv is ",
                   x_adv.scalar_type());
  TORCH_CHECK_VALUE(x.sizes() == x_adv.sizes() && grad.sizes() == x_adv.sizes(), "x ", x.sizes(), " and grad ",
                    grad.sizes(), " must have x_adv's shape ", x_adv.sizes());
  TORCH_CHECK_VALUE(x.device() == x_adv.device() && grad.device() == x_adv.device(), "x on ", x.device(),
                    " and grad on ", grad.device(), " must be on x_adv's device ", x_adv.device());
  at::assert_no_internal_overlap(x_adv);
  at::assert_no_partial_overlap(x_adv, x);
  at::assert_no_partial_overlap(x_adv, grad);
}

inline void check_extras(const at::Tensor& x_adv, const StepArguments& args) {
  const int64_t samples = args.batch.samples;
  if (args.table)
    TORCH_CHECK_VALUE(args.table->dim() == 3 && args.table->size(0) == 4 && args.table->is_contiguous() &&
                          (args.table->size(1) == 1 || args.table->size(1) == samples) &&
                          (args.table->size(2) == 1 || args.table->size(2) == args.batch.channels) &&
                          args.table->scalar_type() == x_adv.scalar_type() && args.table->device() == x_adv.device(),
                      "table ", args.table->sizes(), " must be a contiguous [4, ", samples, " or 1, ",
                      args.batch.channels, " or 1] of the state's type, on its device");
  for (const auto* counted : {&args.hash, &args.tally})
    if (*counted)
      TORCH_CHECK_VALUE((*counted)->scalar_type() == at::kLong && (*counted)->is_contiguous() &&
                            (*counted)->device() == x_adv.device() &&
                            (*counted)->numel() == samples * (counted == &args.hash ? 1 : kKinds),
                        "hash must be int64 [", samples, "] and tally int64 [", samples, ", ", kKinds,
                        "], contiguous, on the state's device");
}

// Checks, lays out, calls run(StepArguments), and hands the result back where x_adv has holes or overlaps.
template <typename Run>
void with_step_arguments(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad,
                         const OptionalTensor& table, const OptionalTensor& hash, const OptionalTensor& tally, Run run) {
  check_state(x_adv, x, grad);
  StepArguments args{x_adv, x, grad, {}, table, hash, tally, 0, 0};
  set_float_bits(args);

  const bool fits = args.uniform() ? x_adv.is_non_overlapping_and_dense()
                                   : x_adv.is_contiguous() || is_channels_last(x_adv);
  if (!fits) args.x_adv = x_adv.contiguous();
  args.x = laid_out_as(x, args.x_adv);
  args.grad = laid_out_as(grad, args.x_adv);
  args.batch = batch_of(args.x_adv);
  check_extras(x_adv, args);

  if (args.x_adv.numel() > 0) run(args);
  if (!fits) x_adv.copy_(args.x_adv);
  // The dispatcher counts the versions of its own operators' results; of others' it must be told.
  if (!x_adv.is_inference()) x_adv.unsafeGetTensorImpl()->bump_version();
}

}  // namespace dlbench
