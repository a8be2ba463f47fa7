// Every family's glue for the CPU in one translation unit: most of the time goes into torch's headers. Apart, each of
// them took twenty seconds to compile; together they take fifty.
#include "aggregate/ops_cpu.cpp"
#include "attention/ops_cpu.cpp"
#include "convolve/ops_cpu.cpp"
#include "neighbours/ops_cpu.cpp"
#include "perturb/apgd/ops_cpu.cpp"
#include "perturb/ball/ops_cpu.cpp"
#include "perturb/linf/ops_cpu.cpp"
#include "perturb/losses/ops_cpu.cpp"
#include "perturb/momentum/ops_cpu.cpp"
#include "perturb/rows/ops_cpu.cpp"
#include "perturb/start/ops_cpu.cpp"
#include "segments/ops_cpu.cpp"
