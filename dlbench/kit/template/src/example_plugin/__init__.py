"""Experiments, a model and a data set for dlbench."""
