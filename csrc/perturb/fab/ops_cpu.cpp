// fab_step_ for torch, on the CPU.
#include <ATen/MemoryOverlap.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <optional>
#include <type_traits>

#include "perturb/fab/fab_step.h"
#include "perturb/gradient.h"
#include "perturb/observe.h"

namespace dlbench::fab_on_cpu {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

constexpr int64_t kGrain = 2048;  // elements below which a thread costs more than it saves

void check_like(const char* name, const at::Tensor& given, const at::Tensor& x_adv, at::IntArrayRef sizes) {
  TORCH_CHECK_TYPE(given.scalar_type() == x_adv.scalar_type(), name, " is ", given.scalar_type(), " but x_adv is ",
                   x_adv.scalar_type());
  TORCH_CHECK_VALUE(given.sizes() == sizes && given.device() == x_adv.device(), name, " must have shape ", sizes,
                    " on x_adv's device, not ", given.sizes(), " on ", given.device());
}

at::Tensor fab_step_(const at::Tensor& x_adv, const at::Tensor& x_, const at::Tensor& grad_, const at::Tensor& lead_,
                     const at::Tensor& adversarial_, const at::Tensor& lower_, const at::Tensor& upper_,
                     const OptionalTensor& unit_, double eta, double beta, double alpha_max, c10::string_view norm,
                     const OptionalTensor& tally) {
  TORCH_CHECK_TYPE(x_adv.scalar_type() == at::kFloat || x_adv.scalar_type() == at::kDouble,
                   "x_adv must be float32 or float64, not ", x_adv.scalar_type());
  TORCH_CHECK_VALUE(x_adv.dim() >= 1, "x_adv must have a dimension of samples");
  TORCH_CHECK_VALUE(norm == "linf" || norm == "l2", "norm must be 'linf' or 'l2', not '", norm, "'");
  const int64_t samples = x_adv.size(0);
  const at::IntArrayRef each = x_adv.sizes().slice(1);
  check_like("x", x_, x_adv, x_adv.sizes());
  check_like("grad", grad_, x_adv, x_adv.sizes());
  check_like("lower", lower_, x_adv, each);
  check_like("upper", upper_, x_adv, each);
  if (unit_) check_like("unit", *unit_, x_adv, x_adv.sizes());
  TORCH_CHECK_TYPE(lead_.scalar_type() == at::kDouble, "lead must be float64, not ", lead_.scalar_type());
  TORCH_CHECK_TYPE(adversarial_.scalar_type() == at::kBool, "adversarial must be bool, not ",
                   adversarial_.scalar_type());
  for (const at::Tensor* one : {&lead_, &adversarial_})
    TORCH_CHECK_VALUE(one->dim() == 1 && one->numel() == samples, "lead and adversarial must have shape [", samples,
                      "], not ", one->sizes());
  TORCH_CHECK_VALUE(!tally || (tally->sizes() == at::IntArrayRef({samples, kKinds}) &&
                               tally->scalar_type() == at::kLong && tally->is_contiguous()),
                    "tally must be contiguous int64 of shape [", samples, ", ", kKinds, "]");
  at::assert_no_internal_overlap(x_adv);
  for (const at::Tensor* other : {&x_, &grad_, &lower_, &upper_}) at::assert_no_overlap(x_adv, *other);

  const at::Tensor out = at::empty({samples}, x_adv.options().dtype(at::kDouble));
  const at::Tensor state = x_adv.contiguous(), x = x_.contiguous(), grad = grad_.contiguous();
  const at::Tensor lower = lower_.contiguous(), upper = upper_.contiguous(), lead = lead_.contiguous();
  const at::Tensor adversarial = adversarial_.contiguous(), unit = unit_ ? unit_->contiguous() : at::Tensor();
  const int64_t size = samples > 0 ? x_adv.numel() / samples : 0;
  const FabRules rules{eta, beta, alpha_max, norm == "l2"};
  const auto run = [&](auto real) {
    using Real = decltype(real);
    using Format = std::conditional_t<sizeof(Real) == 4, Binary32, Binary64>;
    using Bits = typename Format::Bits;
    at::parallel_for(0, samples, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, size)), [&](int64_t begin, int64_t end) {
      std::vector<Real> scratch;
      for (int64_t n = begin; n < end; ++n) {
        const FabPoint<Real> point{state.mutable_data_ptr<Real>() + n * size,
                                   x.const_data_ptr<Real>() + n * size,
                                   grad.const_data_ptr<Real>() + n * size,
                                   lower.const_data_ptr<Real>(),
                                   upper.const_data_ptr<Real>(),
                                   unit.defined() ? unit.const_data_ptr<Real>() + n * size : nullptr,
                                   lead.const_data_ptr<double>()[n],
                                   adversarial.const_data_ptr<bool>()[n]};
        out.mutable_data_ptr<double>()[n] = fab_step_cpu(point, size, rules, scratch);
        if (tally) tally_cpu(reinterpret_cast<const Bits*>(point.grad), size, {Format::kInfinity, Format::kSmallestNormal},
                             tally->mutable_data_ptr<int64_t>() + n * kKinds);
      }
    });
  };
  x_adv.scalar_type() == at::kFloat ? run(float()) : run(double());
  if (!state.is_same(x_adv)) x_adv.copy_(state);
  if (!x_adv.is_inference()) x_adv.unsafeGetTensorImpl()->bump_version();
  return out;
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("fab_step_", fab_step_); }

}  // namespace
}  // namespace dlbench::fab_on_cpu
