"""Audits: what is measured of a model that somebody brings."""
