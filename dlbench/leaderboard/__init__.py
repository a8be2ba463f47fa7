"""Leaderboards that others can verify: submissions in, one table and its pages out.

A *bundle* is what one run measured of one experiment, with everything that a stranger needs to check it, and no
aggregate: those are computed here. A *protocol* says what a board admits: the experiment's version, its metrics, seeds,
parameters and data; whoever keeps the board writes it from the installed plugin, once. :func:`verify` holds a bundle
against its protocol and the bundles before it, rule by rule (V01 to V26), and :func:`build` makes the board of those
that lie in a folder. Neither imports a plugin, and nothing in a bundle is ever executed; only ``rerun`` runs
experiments, those that are installed here.

A board is a folder::

    protocols/NAME.json                    what is admitted
    bundles/*                              what was accepted, a folder or a zip file each
    bundles/*.verified.json, *.note.json   beside a bundle: that it was reproduced; that it was flagged or withdrawn
    leaderboard.csv, runs.csv, site/       what build makes of those, and of nothing else
"""

from dlbench.leaderboard.boards import Board, build
from dlbench.leaderboard.bundle import Bundle, write
from dlbench.leaderboard.container import Rejected
from dlbench.leaderboard.protocol import Protocol
from dlbench.leaderboard.rules import Finding, History, Verification, verify

__all__ = ["Board", "Bundle", "Finding", "History", "Protocol", "Rejected", "Verification", "build", "verify", "write"]
