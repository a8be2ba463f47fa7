"""A workbench for all tests of reports."""

from ..workbench import workbench

__all__ = ["workbench"]
