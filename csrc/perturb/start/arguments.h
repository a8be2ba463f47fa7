// What the CPU's and the GPU's glue of random_start have in common: checks, and the task as the kernels read it.
#pragma once
#include "perturb/dense_rows.h"
#include "perturb/start/random_start.h"

namespace dlbench {

inline Norm norm_of(c10::string_view name) {
  if (name == "linf") return Norm::linf;
  if (name == "l2") return Norm::l2;
  TORCH_CHECK_VALUE(name == "l1", "norm must be 'linf', 'l2' or 'l1', not '", name, "'");
  return Norm::l1;
}

struct RandomStartArguments {
  at::Tensor x, streams;
  Norm norm;
  uint64_t seed;
  double eps, lower, upper;
  OptionalTensor table;

  RandomStartArguments(const at::Tensor& x_, const at::Tensor& streams_, c10::string_view norm_, int64_t seed_,
                       double eps_, double lower_, double upper_, const OptionalTensor& table_)
      : x(dense_rows(x_)),
        streams(streams_.contiguous()),
        norm(norm_of(norm_)),
        seed(static_cast<uint64_t>(seed_)),
        eps(eps_),
        lower(lower_),
        upper(upper_),
        table(table_) {
    TORCH_CHECK_TYPE(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble,
                     "x must be float32 or float64, not ", x.scalar_type());
    TORCH_CHECK_VALUE(x.dim() >= 1, "x must have a dimension of samples");
    const Batch batch = batch_of(x);
    TORCH_CHECK_VALUE(batch.size() < int64_t(1) << 32, "a sample has 2^32 elements or more: ", x.sizes());
    TORCH_CHECK_VALUE(streams.scalar_type() == at::kLong && streams.dim() == 2 && streams.size(0) == batch.samples &&
                          streams.size(1) == 2 && streams.device() == x.device(),
                      "streams ", streams.sizes(), " must be int64 [", batch.samples, ", 2] on x's device");
    if (table)
      TORCH_CHECK_VALUE(table->dim() == 3 && table->size(0) == 4 && table->is_contiguous() &&
                            (table->size(1) == 1 || table->size(1) == batch.samples) &&
                            (table->size(2) == 1 || table->size(2) == batch.channels) &&
                            table->scalar_type() == x.scalar_type() && table->device() == x.device(),
                        "table ", table->sizes(), " must be a contiguous [4, ", batch.samples, " or 1, ", batch.channels,
                        " or 1] of x's type, on its device");
  }

  template <typename Real>
  RandomStart<Real> start() const {
    Batch batch = batch_of(x);
    // Where a sample is treated alike and lies in its logical order, channels do not matter.
    if ((!table || table->size(2) == 1) && !batch.channels_last) batch = {batch.samples, 1, batch.size(), false};
    return {norm,
            seed,
            streams.const_data_ptr<int64_t>(),
            limits_of<Real>(eps, 0, lower, upper),
            table ? LimitsTable<Real>{table->const_data_ptr<Real>(), table->size(1), table->size(2)}
                  : LimitsTable<Real>{nullptr, 1, 1},
            batch};
  }
};

}  // namespace dlbench
