#include "aggregate/bound_graph.h"

#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <pybind11/stl.h>
#include <torch/csrc/Exceptions.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string_view>

#include "from_python.h"

namespace dlbench {
namespace {

namespace py = pybind11;
using OptionalTensor = std::optional<at::Tensor>;

constexpr std::array<std::string_view, 5> kReductions = {"sum", "mean", "max", "min", "std"};

// How often a tensor was changed in place, as far as torch counts it.
int64_t version_of(const at::Tensor& t) {
  const auto& version = t.unsafeGetTensorImpl()->version_counter();
  return version.enabled() ? version.current_version() : 0;
}

OptionalTensor tensor_or_none(py::handle object) {
  return object.is_none() ? std::nullopt : OptionalTensor(THPVariable_Unpack(object.ptr()));
}

class BoundGraph {
 public:
  BoundGraph(py::handle rowptr, py::handle col, py::handle edge_id, int64_t num_src, std::optional<bool> uneven)
      : rowptr_(THPVariable_Unpack(rowptr.ptr())),
        col_(THPVariable_Unpack(col.ptr())),
        edge_id_(tensor_or_none(edge_id)),
        num_src_(num_src),
        uneven_(uneven),
        versions_(versions()) {}

  // None where something does not fit, which the long way finds words for, or where it has something to do first.
  py::object aggregate(py::handle x_, py::handle weight_, py::handle reduce_) const {
    HANDLE_TH_ERRORS
    if (!is_plain(x_) || !(weight_.is_none() || is_plain(weight_)) || !PyUnicode_Check(reduce_.ptr())) return py::none();
    if (at::impl::torch_function_mode_enabled()) return py::none();
    const at::Tensor& x = THPVariable_Unpack(x_.ptr());
    const OptionalTensor weight = tensor_or_none(weight_);
    Py_ssize_t length;
    const char* text = PyUnicode_AsUTF8AndSize(reduce_.ptr(), &length);
    if (!text) throw py::error_already_set();
    const std::string_view reduce(text, length);
    const bool known = std::find(kReductions.begin(), kReductions.end(), reduce) != kReductions.end();
    if (!known || !fits(x, weight) || versions() != versions_) return py::none();

    const bool scatters = !x.is_cuda() && (reduce == "max" || reduce == "min");  // winners' gradients, by rows
    const bool wants_back = !scatters && x.requires_grad() && at::GradMode::is_enabled();
    if (wants_back && !(back_ && back_->versions() == back_->versions_)) return py::none();
    at::Tensor out;
    {
      const py::gil_scoped_release release;
      out = wants_back ? call(x, weight, back_->rowptr_, back_->col_, back_->edge_id_, back_->uneven_, reduce)
                       : call(x, weight, {}, {}, {}, {}, reduce);
    }
    return py::reinterpret_steal<py::object>(THPVariable_Wrap(std::move(out)));
    END_HANDLE_TH_ERRORS_PYBIND
  }

  void set_back(std::shared_ptr<BoundGraph> back) { back_ = std::move(back); }

 private:
  using Schema = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const OptionalTensor&,
                            const OptionalTensor&, const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                            c10::string_view, bool, std::optional<bool>, std::optional<bool>);

  at::Tensor call(const at::Tensor& x, const OptionalTensor& weight, const OptionalTensor& t_rowptr,
                  const OptionalTensor& t_col, const OptionalTensor& t_edge_id, std::optional<bool> t_uneven,
                  std::string_view reduce) const {
    static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("dlbench::aggregate", "").typed<Schema>();
    return op.call(x, rowptr_, col_, edge_id_, weight, t_rowptr, t_col, t_edge_id, reduce, true, uneven_, t_uneven);
  }

  bool fits(const at::Tensor& x, const OptionalTensor& weight) const {
    if (!is_float(x) || (x.dim() != 2 && x.dim() != 3) || x.size(0) != num_src_) return false;
    if (x.device() != col_.device()) return false;
    if (!weight) return true;
    if (!is_float(*weight) || weight->device() != x.device()) return false;
    if (weight->dim() < 1 || weight->size(0) != col_.size(0)) return false;
    return weight->dim() == 1 || (weight->dim() == 2 && x.dim() == 3 && weight->size(1) == x.size(1));
  }

  std::array<int64_t, 3> versions() const {
    return {version_of(rowptr_), version_of(col_), edge_id_ ? version_of(*edge_id_) : 0};
  }

  at::Tensor rowptr_, col_;
  OptionalTensor edge_id_;
  int64_t num_src_;
  std::optional<bool> uneven_;
  std::array<int64_t, 3> versions_;
  std::shared_ptr<BoundGraph> back_;  // the reversed edges, once there are any
};

}  // namespace

void bind_graph(py::module_& module) {
  py::class_<BoundGraph, std::shared_ptr<BoundGraph>>(module, "BoundGraph")
      .def(py::init<py::handle, py::handle, py::handle, int64_t, std::optional<bool>>())
      .def("aggregate", &BoundGraph::aggregate)
      .def("set_back", &BoundGraph::set_back);
}

}  // namespace dlbench
