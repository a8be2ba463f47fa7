"""All first-party experiments pass the suite that third parties use."""

from dlbench.testing import conformance

TestConformance = conformance("dlbench")
