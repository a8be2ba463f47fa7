// Every family's glue for the CPU in one translation unit: the compiler takes fifteen seconds for torch's headers, and
// two for a family.
#include "aggregate/ops_cpu.cpp"
#include "attention/ops_cpu.cpp"
#include "neighbours/ops_cpu.cpp"
#include "perturb/apgd/ops_cpu.cpp"
#include "perturb/ball/ops_cpu.cpp"
#include "perturb/linf/ops_cpu.cpp"
#include "perturb/losses/ops_cpu.cpp"
#include "perturb/momentum/ops_cpu.cpp"
#include "perturb/rows/ops_cpu.cpp"
#include "perturb/start/ops_cpu.cpp"
#include "segments/ops_cpu.cpp"
