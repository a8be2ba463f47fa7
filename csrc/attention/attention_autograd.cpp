// The derivatives of gat_aggregate and gat_attend: what these keep beside their result goes, with the gradient, to an
// operator of its own, which has none. In C++, because on a graph of a few thousand nodes one of their kernels takes no
// longer than Python's autograd does.
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <utility>

#include "dispatched.h"

namespace dlbench {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// All that is not differentiated.
struct Rest {
  Tensor rowptr, col;
  OptionalTensor edge_id, t_rowptr, t_col, t_edge_id;
  double negative_slope, dropout;
  c10::SymInt seed;
  bool checked;

  void save(AutogradContext* ctx, variable_list others) const {
    for (const OptionalTensor& t : {OptionalTensor(rowptr), OptionalTensor(col), edge_id, t_rowptr, t_col, t_edge_id})
      others.push_back(t.value_or(Tensor()));
    ctx->save_for_backward(std::move(others));
    ctx->saved_data["negative_slope"] = negative_slope;
    ctx->saved_data["dropout"] = dropout;
    ctx->saved_data["seed"] = seed;
    ctx->saved_data["checked"] = checked;
  }

  // With the transpose, whether or not that was there before.
  static Rest saved(AutogradContext* ctx, const variable_list& saved, const c10::SymInt& num_src) {
    const Tensor* graph = &saved[saved.size() - 6];
    const auto optional = [](const Tensor& t) { return t.defined() ? OptionalTensor(t) : std::nullopt; };
    Rest rest{graph[0],
              graph[1],
              optional(graph[2]),
              optional(graph[3]),
              optional(graph[4]),
              optional(graph[5]),
              ctx->saved_data["negative_slope"].toDouble(),
              ctx->saved_data["dropout"].toDouble(),
              ctx->saved_data["seed"].toSymInt(),
              ctx->saved_data["checked"].toBool()};
    if (!rest.t_rowptr || !rest.t_col)
      std::tie(rest.t_rowptr, rest.t_col, rest.t_edge_id) =
          transpose_of(rest.rowptr, rest.col, rest.edge_id, num_src);
    return rest;
  }
};

using Three = std::tuple<Tensor, Tensor, Tensor>;
using Five = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
template <typename Results>
using Forth = Results(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                      const OptionalTensor&, const OptionalTensor&, const OptionalTensor&, double, double, c10::SymInt,
                      bool);
template <typename... Kept>
using Back = Three(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Kept&..., const Tensor&,
                   const Tensor&, const OptionalTensor&, const Tensor&, const Tensor&, const OptionalTensor&, double,
                   double, c10::SymInt, bool);

struct GatAggregate {
  using Results = Three;  // out, largest, inverse
  static Results call(const Tensor& x, const Tensor& score_src, const Tensor& score_dst, const Rest& r) {
    static const auto op = find<Forth<Results>>("dlbench::gat_aggregate");
    return op.call(x, score_src, score_dst, r.rowptr, r.col, r.edge_id, r.t_rowptr, r.t_col, r.t_edge_id,
                   r.negative_slope, r.dropout, r.seed, r.checked);
  }
  // t: x and the scores, then what was kept
  static Three backward(const Tensor& grad, const variable_list& t, const Rest& r) {
    static const auto op = find<Back<Tensor, Tensor>>("dlbench::gat_aggregate_backward");
    return op.call(grad, t[0], t[1], t[2], t[3], t[4], r.rowptr, r.col, r.edge_id, *r.t_rowptr, *r.t_col, r.t_edge_id,
                   r.negative_slope, r.dropout, r.seed, r.checked);
  }
};

struct GatAttend {
  using Results = Five;  // out, score_src, score_dst, largest, inverse
  static Results call(const Tensor& x, const Tensor& attend_src, const Tensor& attend_dst, const Rest& r) {
    static const auto op = find<Forth<Results>>("dlbench::gat_attend");
    return op.call(x, attend_src, attend_dst, r.rowptr, r.col, r.edge_id, r.t_rowptr, r.t_col, r.t_edge_id,
                   r.negative_slope, r.dropout, r.seed, r.checked);
  }
  static Three backward(const Tensor& grad, const variable_list& t, const Rest& r) {
    static const auto op = find<Back<Tensor, Tensor, Tensor, Tensor>>("dlbench::gat_attend_backward");
    return op.call(grad, t[0], t[1], t[2], t[3], t[4], t[5], t[6], r.rowptr, r.col, r.edge_id, *r.t_rowptr, *r.t_col,
                   r.t_edge_id, r.negative_slope, r.dropout, r.seed, r.checked);
  }
};

template <typename Op>
class Attention : public Function<Attention<Op>> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& by_src, const Tensor& by_dst,
                               const Rest& rest) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const variable_list results = std::apply([](const auto&... each) { return variable_list{each...}; },
                                             Op::call(x, by_src, by_dst, rest));
    variable_list kept(results.begin() + 1, results.end());
    ctx->mark_non_differentiable(kept);
    variable_list saved{x, by_src, by_dst};
    saved.insert(saved.end(), kept.begin(), kept.end());
    rest.save(ctx, std::move(saved));
    return results;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const auto [of_x, of_src, of_dst] =
        Op::backward(grads[0], saved, Rest::saved(ctx, saved, saved[0].sym_size(0)));
    return {of_x, of_src, of_dst, Tensor()};
  }
};

// A derivative that is missing is an error where it is asked for, never a zero.
template <typename Op>
class Once : public Function<Once<Op>> {
 public:
  template <typename... Tensors>  // one by one: in a list torch would not see them
  static variable_list forward(AutogradContext*, const Rest& rest, const Tensor& grad, const Tensors&... tensors) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [of_x, of_src, of_dst] = Op::backward(grad, {tensors...}, rest);
    return {of_x, of_src, of_dst};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK_NOT_IMPLEMENTED(false,
                                "gat_aggregate and gat_attend can be differentiated once; for more, weigh aggregate by "
                                "what edge_softmax gives");
  }
};

bool any_wants_gradient(const variable_list& tensors) {
  if (!at::GradMode::is_enabled()) return false;
  for (const Tensor& t : tensors)
    if (t.requires_grad()) return true;
  return false;
}

template <typename Op>
typename Op::Results forth(const Tensor& x, const Tensor& by_src, const Tensor& by_dst, const Tensor& rowptr,
                           const Tensor& col, const OptionalTensor& edge_id, const OptionalTensor& t_rowptr,
                           const OptionalTensor& t_col, const OptionalTensor& t_edge_id, double negative_slope,
                           double dropout, c10::SymInt seed, bool checked) {
  const Rest rest{rowptr,    col,            edge_id, t_rowptr,        t_col,
                  t_edge_id, negative_slope, dropout, std::move(seed), checked};
  refuse_forward_mode("gat_aggregate and gat_attend", {x, by_src, by_dst});
  if (!any_wants_gradient({x, by_src, by_dst})) {
    const at::AutoDispatchBelowADInplaceOrView below;
    return Op::call(x, by_src, by_dst, rest);
  }
  const variable_list out = Attention<Op>::apply(x, by_src, by_dst, rest);
  if constexpr (std::is_same_v<typename Op::Results, Three>)
    return {out[0], out[1], out[2]};
  else
    return {out[0], out[1], out[2], out[3], out[4]};
}

template <typename Op, typename... Kept>
Three back(const Tensor& grad, const Tensor& x, const Tensor& by_src, const Tensor& by_dst, const Kept&... kept,
           const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, const Tensor& t_rowptr,
           const Tensor& t_col, const OptionalTensor& t_edge_id, double negative_slope, double dropout,
           c10::SymInt seed, bool checked) {
  const Rest rest{rowptr,    col,            edge_id, t_rowptr,        t_col,
                  t_edge_id, negative_slope, dropout, std::move(seed), checked};
  if (!any_wants_gradient({grad, x, by_src, by_dst, kept...})) {
    const at::AutoDispatchBelowADInplaceOrView below;
    return Op::backward(grad, {x, by_src, by_dst, kept...}, rest);
  }
  const variable_list out = Once<Op>::apply(rest, grad, x, by_src, by_dst, kept...);
  return {out[0], out[1], out[2]};
}

TORCH_LIBRARY_IMPL(dlbench, Autograd, m) {
  m.impl("gat_aggregate", forth<GatAggregate>);
  m.impl("gat_aggregate_backward", back<GatAggregate, Tensor, Tensor>);
  m.impl("gat_attend", forth<GatAttend>);
  m.impl("gat_attend_backward", back<GatAttend, Tensor, Tensor, Tensor, Tensor>);
}

}  // namespace
}  // namespace dlbench
