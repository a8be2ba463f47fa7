// The derivatives of the aggregate family, made of its own operators, and so differentiable again. aggregate is linear
// in its features, with the aggregate over the reversed edges as its adjoint, and linear in its weights, with sddmm as its
// adjoint; and sddmm is linear in both of its arguments, with aggregates as its adjoints. Max and min pass their
// gradients to the winners, once.
//
// In C++, because on a batch of molecules a sum takes less time than entering Python's autograd does.
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <string>

#include "dispatched.h"

namespace dlbench {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using AggregateSchema = Tensor(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                               const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                               const OptionalTensor&, c10::string_view, bool, std::optional<bool>,
                               std::optional<bool>);
using AggregateArgSchema = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&,
                                                      const OptionalTensor&, const OptionalTensor&,
                                                      const OptionalTensor&, const OptionalTensor&,
                                                      const OptionalTensor&, c10::string_view, bool,
                                                      std::optional<bool>);
using SddmmSchema = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                           const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                           std::optional<at::ScalarType>, bool, std::optional<bool>, std::optional<bool>);
using ScatterSchema = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                             const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                             const OptionalTensor&, c10::SymInt, bool);
using DotsSchema = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                          const OptionalTensor&, bool, bool);

const auto& aggregate_op() {
  static const auto op = find<AggregateSchema>("dlbench::aggregate");
  return op;
}
const auto& aggregate_arg_op() {
  static const auto op = find<AggregateArgSchema>("dlbench::aggregate_arg");
  return op;
}
const auto& sddmm_op() {
  static const auto op = find<SddmmSchema>("dlbench::sddmm");
  return op;
}
const auto& scatter_winners_op() {
  static const auto op = find<ScatterSchema>("dlbench::scatter_winners");
  return op;
}
const auto& winner_dots_op() {
  static const auto op = find<DotsSchema>("dlbench::winner_dots");
  return op;
}

// A graph with the graph of its reversed edges, which may be missing, whether the caller vouches for it, and what is
// known of the lengths of the rows of both (split.h).
struct Edges {
  Tensor rowptr, col;
  OptionalTensor edge_id, t_rowptr, t_col, t_edge_id;
  bool checked;
  std::optional<bool> uneven, t_uneven;

  Tensor aggregate(const Tensor& x, const OptionalTensor& weight, c10::string_view reduce) const {
    return aggregate_op().call(x, rowptr, col, edge_id, weight, t_rowptr, t_col, t_edge_id, reduce, checked, uneven,
                               t_uneven);
  }
  std::tuple<Tensor, Tensor> aggregate_arg(const Tensor& x, const OptionalTensor& weight,
                                           c10::string_view reduce) const {
    return aggregate_arg_op().call(x, rowptr, col, edge_id, weight, t_rowptr, t_col, t_edge_id, reduce, checked,
                                   uneven);
  }
  Tensor sddmm(const Tensor& a, const Tensor& b, std::optional<at::ScalarType> dtype) const {
    return sddmm_op().call(a, b, rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, dtype, checked, uneven, t_uneven);
  }

  // The dots of all heads together where the weights are: [edges], not [edges, heads].
  Tensor dots_like(const Tensor& weight, const Tensor& a, const Tensor& b) const {
    const bool by_head = weight.dim() == 2;
    return sddmm(by_head ? a : a.flatten(1), by_head ? b : b.flatten(1), weight.scalar_type());
  }

  Edges reversed(const c10::SymInt& num_src) const {
    if (t_rowptr && t_col) return {*t_rowptr, *t_col, t_edge_id, rowptr, col, edge_id, checked, t_uneven, uneven};
    const auto [new_rowptr, new_col, new_edge_id] = transpose_of(rowptr, col, edge_id, num_src);
    return {new_rowptr, new_col, new_edge_id, rowptr, col, edge_id, checked, std::nullopt, uneven};
  }

  // The number of edges of every row, at least 1, to divide rows of the dimensions of `like` by.
  Tensor counts(const Tensor& like) const {
    const auto type = like.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const Tensor counts = rowptr.diff().clamp_min(1).to(type).unsqueeze(-1);
    return like.dim() == 3 ? counts.unsqueeze(-1) : counts;
  }

  void save(AutogradContext* ctx, variable_list others) const {
    for (const OptionalTensor& t : {OptionalTensor(rowptr), OptionalTensor(col), edge_id, t_rowptr, t_col, t_edge_id})
      others.push_back(t.value_or(Tensor()));
    ctx->save_for_backward(std::move(others));
    ctx->saved_data["checked"] = checked;
    ctx->saved_data["uneven"] = uneven;
    ctx->saved_data["t_uneven"] = t_uneven;
  }

  static Edges saved(AutogradContext* ctx, const variable_list& saved) {
    const auto optional = [&](size_t from_last) {
      const Tensor& t = saved[saved.size() - from_last];
      return t.defined() ? OptionalTensor(t) : std::nullopt;
    };
    return {saved[saved.size() - 6], saved[saved.size() - 5], optional(4), optional(3), optional(2), optional(1),
            ctx->saved_data["checked"].toBool(), ctx->saved_data["uneven"].toOptional<bool>(),
            ctx->saved_data["t_uneven"].toOptional<bool>()};
  }
};

OptionalTensor optional(const Tensor& t) { return t.defined() ? OptionalTensor(t) : std::nullopt; }

bool wants_gradient(const Tensor& x, const OptionalTensor& other) {
  refuse_forward_mode("aggregate and sddmm", {x, other.value_or(Tensor())});
  return at::GradMode::is_enabled() && (x.requires_grad() || (other && other->requires_grad()));
}

class Aggregate : public torch::autograd::Function<Aggregate> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const OptionalTensor& weight, const Edges& edges,
                        const std::string& reduce) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const bool keeps_x = reduce == "std" || (weight && weight->requires_grad());
    edges.save(ctx, {keeps_x ? x : Tensor(), weight.value_or(Tensor())});
    ctx->saved_data["reduce"] = reduce;
    ctx->saved_data["num_src"] = x.sym_size(0);
    return edges.aggregate(x, weight, reduce);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor x = saved[0], weight = saved[1];
    const Edges edges = Edges::saved(ctx, saved);
    const std::string reduce = ctx->saved_data["reduce"].toStringRef();
    const c10::SymInt num_src = ctx->saved_data["num_src"].toSymInt();
    const bool wants_x = ctx->needs_input_grad(0), wants_weight = weight.defined() && ctx->needs_input_grad(1);
    if (reduce == "std") return std_backward(grads[0], x, weight, edges, wants_x, wants_weight);

    const Tensor grad = reduce == "mean" ? grads[0].div(edges.counts(grads[0])).to(grads[0].scalar_type()) : grads[0];
    Tensor of_x, of_weight;
    if (wants_x) of_x = edges.reversed(num_src).aggregate(grad, optional(weight), "sum");
    if (wants_weight) of_weight = edges.dots_like(weight, grad, x);
    return {of_x, of_weight, Tensor(), Tensor()};
  }

 private:
  // With m the messages, c their number and s the deviation: ds/dm = (m - mean) / (c s), taken as 0 where s is, or is no
  // more than what rounding does to the mean. The two terms of the difference may be large beside it, so all is computed
  // in float64.
  static variable_list std_backward(const Tensor& grad, const Tensor& x, const Tensor& weight, const Edges& edges,
                                    bool wants_x, bool wants_weight) {
    const Tensor wide_x = x.to(at::kDouble), wide_weight = weight.defined() ? weight.to(at::kDouble) : weight;
    const Tensor mean = edges.aggregate(wide_x, optional(wide_weight), "mean");
    const Tensor deviation = edges.aggregate(wide_x, optional(wide_weight), "std");
    const Tensor rounding = mean.abs() * ((edges.counts(wide_x) + 4) * 0x1p-52);
    const Tensor flat = deviation.le(rounding);
    const Tensor slope = (grad / (deviation.masked_fill(flat, 1) * edges.counts(wide_x))).masked_fill(flat, 0);
    Tensor of_x, of_weight;
    if (wants_x) {
      const Edges back = edges.reversed(x.sym_size(0));
      const Tensor square = weight.defined() ? wide_weight * wide_weight : Tensor();
      of_x = wide_x * back.aggregate(slope, optional(square), "sum") -
             back.aggregate(slope * mean, optional(wide_weight), "sum");
      of_x = of_x.to(x.scalar_type());
    }
    if (wants_weight) {
      of_weight = wide_weight * edges.dots_like(wide_weight, slope, wide_x * wide_x) -
                  edges.dots_like(wide_weight, slope * mean, wide_x);
      of_weight = of_weight.to(weight.scalar_type());
    }
    return {of_x, of_weight, Tensor(), Tensor()};
  }
};

class Extremum : public torch::autograd::Function<Extremum> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const OptionalTensor& weight, const Edges& edges,
                               const std::string& reduce) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [out, position] = edges.aggregate_arg(x, weight, reduce);
    edges.save(ctx, {weight && weight->requires_grad() ? x : Tensor(), weight.value_or(Tensor()), position});
    ctx->saved_data["num_src"] = x.sym_size(0);
    ctx->mark_non_differentiable({position});
    return {out, position};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor x = saved[0], weight = saved[1], position = saved[2];
    const Edges edges = Edges::saved(ctx, saved);
    Tensor of_x, of_weight;
    if (ctx->needs_input_grad(0)) {
      const c10::SymInt num_src = ctx->saved_data["num_src"].toSymInt();
      const Edges to = grads[0].is_cuda() && !edges.t_rowptr ? edges.reversed(num_src).reversed(num_src) : edges;
      of_x = scatter_winners_op().call(grads[0], position, to.rowptr, to.col, to.edge_id, optional(weight), to.t_rowptr,
                                       to.t_col, to.t_edge_id, num_src, to.checked);
    }
    if (weight.defined() && ctx->needs_input_grad(1))
      of_weight = winner_dots_op()
                      .call(grads[0], x, position, edges.rowptr, edges.col, edges.edge_id, weight.dim() == 2,
                            edges.checked)
                      .to(weight.scalar_type());
    return {of_x, of_weight, Tensor(), Tensor()};
  }
};

class Sddmm : public torch::autograd::Function<Sddmm> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& a, const Tensor& b, const Edges& edges,
                        std::optional<at::ScalarType> dtype) {
    const at::AutoDispatchBelowADInplaceOrView below;
    edges.save(ctx, {a, b});
    return edges.sddmm(a, b, dtype);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor a = saved[0], b = saved[1];
    const Edges edges = Edges::saved(ctx, saved);
    Tensor of_a, of_b;
    if (ctx->needs_input_grad(0)) of_a = edges.aggregate(b, grads[0], "sum");
    if (ctx->needs_input_grad(1)) of_b = edges.reversed(b.sym_size(0)).aggregate(a, grads[0], "sum");
    return {of_a, of_b, Tensor(), Tensor()};
  }
};

Tensor aggregate(const Tensor& x, const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                 const OptionalTensor& weight, const OptionalTensor& t_rowptr, const OptionalTensor& t_col,
                 const OptionalTensor& t_edge_id, c10::string_view reduce, bool checked, std::optional<bool> uneven,
                 std::optional<bool> t_uneven) {
  const Edges edges{rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, checked, uneven, t_uneven};
  if (!wants_gradient(x, weight)) {
    const at::AutoDispatchBelowADInplaceOrView below;
    return edges.aggregate(x, weight, reduce);
  }
  if (reduce == "max" || reduce == "min") return Extremum::apply(x, weight, edges, std::string(reduce))[0];
  return Aggregate::apply(x, weight, edges, std::string(reduce));
}

std::tuple<Tensor, Tensor> aggregate_arg(const Tensor& x, const Tensor& rowptr, const Tensor& col,
                                         const OptionalTensor& edge_id, const OptionalTensor& weight,
                                         const OptionalTensor& t_rowptr, const OptionalTensor& t_col,
                                         const OptionalTensor& t_edge_id, c10::string_view reduce, bool checked,
                                         std::optional<bool> uneven) {
  const Edges edges{rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, checked, uneven, std::nullopt};
  if (!wants_gradient(x, weight)) {
    const at::AutoDispatchBelowADInplaceOrView below;
    return edges.aggregate_arg(x, weight, reduce);
  }
  const variable_list out = Extremum::apply(x, weight, edges, std::string(reduce));
  return {out[0], out[1]};
}

Tensor sddmm(const Tensor& a, const Tensor& b, const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
             const OptionalTensor& t_rowptr, const OptionalTensor& t_col, const OptionalTensor& t_edge_id,
             std::optional<at::ScalarType> dtype, bool checked, std::optional<bool> uneven,
             std::optional<bool> t_uneven) {
  const Edges edges{rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, checked, uneven, t_uneven};
  if (!wants_gradient(a, b)) {
    const at::AutoDispatchBelowADInplaceOrView below;
    return edges.sddmm(a, b, dtype);
  }
  return Sddmm::apply(a, b, edges, dtype);
}

// A second derivative that is missing is an error, never a zero.
void refuse(bool wanted) {
  TORCH_CHECK_NOT_IMPLEMENTED(!wanted, "aggregate's max and min can be differentiated once, not twice");
}

Tensor scatter_winners(const Tensor& grad, const Tensor& position, const Tensor& rowptr, const Tensor& col,
                       const OptionalTensor& edge_id, const OptionalTensor& weight, const OptionalTensor& t_rowptr,
                       const OptionalTensor& t_col, const OptionalTensor& t_edge_id, c10::SymInt num_src,
                       bool checked) {
  refuse(wants_gradient(grad, weight));
  const at::AutoDispatchBelowADInplaceOrView below;
  return scatter_winners_op().call(grad, position, rowptr, col, edge_id, weight, t_rowptr, t_col, t_edge_id,
                                   std::move(num_src), checked);
}

Tensor winner_dots(const Tensor& grad, const Tensor& x, const Tensor& position, const Tensor& rowptr,
                   const Tensor& col, const OptionalTensor& edge_id, bool by_head, bool checked) {
  refuse(wants_gradient(grad, x));
  const at::AutoDispatchBelowADInplaceOrView below;
  return winner_dots_op().call(grad, x, position, rowptr, col, edge_id, by_head, checked);
}

TORCH_LIBRARY_IMPL(dlbench, Autograd, m) {
  m.impl("aggregate", aggregate);
  m.impl("aggregate_arg", aggregate_arg);
  m.impl("sddmm", sddmm);
  m.impl("scatter_winners", scatter_winners);
  m.impl("winner_dots", winner_dots);
}

}  // namespace
}  // namespace dlbench
