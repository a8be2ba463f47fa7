"""First-party experiments, imported as ``dlbench_plugins``: one folder a chapter, one file an experiment."""
