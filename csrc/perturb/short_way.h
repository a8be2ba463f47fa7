// From Python to linf_step_, l2_step_ and l1_step_ without the conversions of torch's own way, which take as long as an L∞
// step of 50,000 numbers.
#pragma once
#include <pybind11/pybind11.h>

namespace dlbench {

void bind_short_way(pybind11::module_& module);

}  // namespace dlbench
