"""The C++ sources as a whole."""

from dlbench.ops import recipe

ROOT = recipe.sources_root()


def test_every_familys_glue_is_compiled():
    glue = (ROOT / "glue_cpu.cpp").read_text()
    families = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("ops_cpu.cpp")}
    assert {line.split('"')[1] for line in glue.splitlines() if line.startswith("#include")} == families


def test_what_is_for_a_gpu_is_compiled_where_there_is_one():
    without, both = (set(recipe.sources(ROOT, with_cuda)) for with_cuda in (False, True))
    assert without < both and all(name.endswith(("_cuda.cpp", ".cu")) for name in both - without)
    assert "glue_cpu.cpp" in without and not any(name.endswith("ops_cpu.cpp") for name in both)
