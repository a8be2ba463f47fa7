"""What is found by searching instead of by experts: architectures, settings and whole pipelines."""
