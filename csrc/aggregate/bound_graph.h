// The short way from Python to `aggregate`: a graph's tensors are handed over once, when it is made, and arguments are
// looked at here. On a batch of molecules the sum takes less time than torch.ops needs to take ten arguments over. What
// follows is the operator's own: dispatch, derivatives, autocast.
#pragma once
#include <pybind11/pybind11.h>

namespace dlbench {

void bind_graph(pybind11::module_& module);

}  // namespace dlbench
