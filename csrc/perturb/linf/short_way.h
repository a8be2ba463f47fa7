// From Python to linf_step_ without the conversions of torch's own way, which take as long as a step of 50,000 numbers.
#pragma once
#include <pybind11/pybind11.h>

namespace dlbench {

void bind_short_way(pybind11::module_& module);

}  // namespace dlbench
