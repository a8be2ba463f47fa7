"""What dlbench asks of every experiment, third parties' and its own alike."""

from dlbench.testing import conformance

TestConformance = conformance("example-plugin")
