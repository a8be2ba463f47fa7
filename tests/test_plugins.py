"""Discovery: names without imports, and no plugin stops another."""

import json
from importlib import metadata

import pytest

from dlbench import plugins
from dlbench.plugins import Broken, Plugin

OK = "import sys; sys.modules['was_imported'] = sys\nclass E: pass\n"


@pytest.fixture
def site(distribution, monkeypatch):
    """Put distributions on sys.path for this process, and forget what was discovered before and after."""

    def add(*folders):
        for folder in folders:
            monkeypatch.syspath_prepend(str(folder))
        plugins._registered.cache_clear()

    yield add
    plugins._registered.cache_clear()


def named(name):
    healthy, broken = plugins.discover(plugins.EXPERIMENTS)
    return [p for p in healthy if p.name == name], [b for b in broken if b.plugin.name == name]


def test_names_come_without_imports(distribution, site):
    site(distribution("good", {"good": "good_module:E"}, {"good_module.py": OK}))
    [plugin], [] = named("good")
    assert (plugin.distribution, plugin.version, plugin.module) == ("good", "1.0", "good_module")
    import sys

    assert "was_imported" not in sys.modules
    assert plugins.load(plugins.EXPERIMENTS, "good").__name__ == "E"


def test_a_distribution_s_metadata_is_read_once(distribution, site, monkeypatch):
    names = {f"good{k}": "good_module:E" for k in range(5)}
    site(distribution("good", names, {"good_module.py": OK}))
    read, original = [], metadata.Distribution.metadata.fget
    monkeypatch.setattr(metadata.Distribution, "metadata", property(lambda d: read.append(d) or original(d)))
    for group in plugins.EVERY_GROUP:
        plugins.discover(group)
    assert len(read) <= 2 * len({id(d) for d in read})  # its name, and its version


def test_a_taken_name_is_lost_to_both_and_says_who(distribution, site):
    site(
        distribution("one", {"same": "one_module:E"}, {"one_module.py": OK}),
        distribution("two", {"same": "two_module:E"}, {"two_module.py": OK}),
    )
    healthy, broken = named("same")
    assert healthy == []
    assert len(broken) == 2
    assert "registered more than once, by one 1.0 (one_module:E) and two 1.0 (two_module:E)" in broken[0].reason
    with pytest.raises(plugins.PluginError, match="uninstall all but one"):
        plugins.find(plugins.EXPERIMENTS, "same")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Bad-Name", "good_module:E", "lower-case Python identifier"),
        ("no_attribute", "good_module", "must have the form"),
        ("no_module", "nowhere_at_all:E", "'nowhere_at_all' is not installed"),
        ("no_submodule", "good_package.missing:E", "there is no module 'good_package.missing'"),
    ],
)
def test_what_metadata_tells_of_a_broken_plugin(distribution, site, name, value, reason):
    files = {"good_module.py": OK, "good_package/__init__.py": "", "good_package/there.py": OK}
    site(distribution("d", {name: value, "fine": "good_package.there:E"}, files))
    [], [record] = named(name)
    assert reason in record.reason
    assert value in str(record)
    [_], [] = named("fine")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('boom')", "importing it raised RuntimeError: boom"),
        ("import sys; sys.exit(0)", "importing it raised SystemExit: 0"),
        ("import module_that_is_not_there", "No module named 'module_that_is_not_there'"),
        ("def E(:", "SyntaxError"),
        ("x = 1", "AttributeError"),
    ],
)
def test_whatever_an_import_raises_is_a_record_with_a_traceback(distribution, site, source, reason):
    site(distribution("d", {"bad": "bad_module:E"}, {"bad_module.py": source}))
    record = plugins.load_plugin(plugins.find(plugins.EXPERIMENTS, "bad"))
    assert isinstance(record, Broken)
    assert reason in record.reason
    assert "Traceback" in record.details
    import sys

    sys.modules.pop("bad_module", None)


def test_unknown_names_get_a_suggestion(distribution, site):
    site(distribution("d", {"levitation": "m:E"}, {"m.py": OK}))
    with pytest.raises(plugins.PluginError, match=r"there is no experiment 'levitatoin'; did you mean 'levitation'"):
        plugins.find(plugins.EXPERIMENTS, "levitatoin")


def test_the_code_digest_sees_every_file_of_the_package(distribution, site):
    folder = distribution("d", {}, {"digested/__init__.py": "", "digested/helpers/util.py": "x = 1"})
    site(folder)
    plugins._code_digest.cache_clear()
    before = plugins.code_digest("digested.helpers.util")
    assert before == plugins.code_digest("digested")
    (folder / "digested/helpers/util.py").write_text("x = 2")
    plugins._code_digest.cache_clear()
    assert plugins.code_digest("digested") != before


def test_missing_extras_are_named(distribution, site):
    folder = distribution("needy", {})
    meta = folder / "needy-1.0.dist-info" / "METADATA"
    meta.write_text(
        meta.read_text() + "Requires-Dist: numpy\nRequires-Dist: not-there-at-all>=2; extra == 'vision'\n"
        "Requires-Dist: numpy; extra == 'vision'\nProvides-Extra: vision\n"
    )
    site(folder)
    plugin = Plugin(plugins.EXPERIMENTS, "e", "m:E", "needy", "1.0")
    assert plugins.extras_missing(plugin, ["vision"]) == ["not-there-at-all"]
    assert plugins.extras_missing(plugin, []) == []


HOSTILE = {
    "raising": "raise RuntimeError('boom')",
    "exiting": "import sys; sys.exit(0)",
    "printing": "print('NOISE'); import sys; sys.stdout.write('NOISE')\nraise ImportError('x')",
    "segfaulting": "import os; os.kill(os.getpid(), 11)",
    "not_a_class": "E = 3",
    "no_main": (
        "from dataclasses import dataclass\nfrom dlbench import *\n"
        "@dataclass(frozen=True)\nclass E(Experiment):\n    title='t'\n    metrics={'a': Metric()}\n"
    ),
}


def test_hostile_plugins_never_stop_the_rest(dlbench, distribution, toys):
    files = {f"{name}_module.py": source for name, source in HOSTILE.items()}
    hostile = distribution("hostile", {name: f"{name}_module:E" for name in HOSTILE}, files)
    clash = distribution("clash", {"raises": "nowhere:E"})
    listed = dlbench("list", plugins=[toys, hostile, clash])
    assert listed.status == 0
    assert "NOISE" not in listed.out
    assert "broken: raises: the name is registered more than once" in listed.out
    checked = dlbench("list", "--check", "--json", plugins=[toys, hostile, clash])
    reasons = {p["name"]: p["broken"] for p in json.loads(checked.out)["experiments"] if p["broken"]}
    assert "RuntimeError: boom" in reasons["raising"]
    assert "SystemExit" in reasons["exiting"]
    assert "ImportError" in reasons["printing"]
    assert "killed by SIGSEGV" in reasons["segfaulting"]
    assert "not a subclass" in reasons["not_a_class"]
    assert "no metric is main" in reasons["no_main"]
    assert "healthy" not in reasons
    run = dlbench("run", "healthy", "--seeds", 1, plugins=[toys, hostile, clash])
    assert run.status == 0
    for name in ("raising", "segfaulting"):
        asked = dlbench("run", name, plugins=[toys, hostile])
        assert asked.status == 2
        assert "hostile 1.0" in asked.err


def test_a_plugin_that_hangs_on_import_is_cut_off(dlbench, distribution, toys, environment):
    slow = distribution("slow", {"slow": "slow_module:E"}, {"slow_module.py": "import time; time.sleep(600)"})
    script = "import dlbench.runner.plan as plan; plan.IMPORT_TIMEOUT = 2.0\nfrom dlbench.cli import main\nmain()"
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "run", "slow"], capture_output=True, text=True, env=environment(slow)
    )
    assert done.returncode == 2
    assert "still running after its limit of 2 s" in done.stderr
