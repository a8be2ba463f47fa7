"""A town of straight roads, a driver who knows every way in it, and a car that learnt from him.

The car sees 5 × 5 cells around it, its heading, and the direction and distance of its goal. It imitates the driver, who
takes a shortest way: from any cell towards the goal, straight on where that is as short. A barrier across one road is
seen as what is not road. Whoever drives onto what is not road has crashed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BLOCK = 4  # from junction to junction, in cells
JUNCTIONS = 5  # in each direction
VIEW = 2  # cells that are seen to each side
MARGIN = VIEW
SIDE = BLOCK * (JUNCTIONS - 1) + 1 + 2 * MARGIN
MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])  # north, east, south, west
PATIENCE = 3 * BLOCK * JUNCTIONS  # steps after which a car is held to be lost
INPUTS = (2 * VIEW + 1) ** 2 + 4 + 8

Policy = Callable[[np.ndarray], np.ndarray]  # what is seen [n, INPUTS] → moves [n]


def town() -> np.ndarray:
    """[SIDE, SIDE] bool: which cells are road."""
    road = np.zeros((SIDE, SIDE), dtype=bool)
    lines = MARGIN + BLOCK * np.arange(JUNCTIONS)
    road[lines, MARGIN : SIDE - MARGIN] = True
    road[MARGIN : SIDE - MARGIN, lines] = True
    return road


def with_barrier(road: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
    """The town with a barrier half way between two junctions, not on its outer roads; and where it stands."""
    line, between = MARGIN + BLOCK * rng.integers(1, JUNCTIONS - 1), MARGIN + BLOCK * rng.integers(1, JUNCTIONS - 2) + 2
    place = (int(line), int(between)) if rng.random() < 0.5 else (int(between), int(line))
    changed = road.copy()
    changed[place] = False
    return changed, place


def distances(road: np.ndarray, goal: tuple[int, int]) -> np.ndarray:
    """[SIDE, SIDE]: steps by road to the goal; a large number where there is no way."""
    steps = np.full(road.shape, 10**6)
    steps[goal] = 0
    queue = deque([goal])
    while queue:
        row, column = queue.popleft()
        for move in MOVES:
            to = (row + move[0], column + move[1])
            if road[to] and steps[to] == 10**6:
                steps[to] = steps[row, column] + 1
                queue.append(to)
    return steps


class Drive(NamedTuple):
    """n drives from one junction to another."""

    start: np.ndarray  # [n, 2]
    goal: np.ndarray  # [n, 2]


def all_drives() -> Drive:
    """From every junction to every other."""
    lines = MARGIN + BLOCK * np.arange(JUNCTIONS)
    places = np.array([(r, c) for r in lines for c in lines])
    a, b = np.divmod(np.arange(len(places) ** 2), len(places))
    return Drive(places[a[a != b]], places[b[a != b]])


def seen(road: np.ndarray, at: np.ndarray, heading: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """[n, INPUTS] float32: what cars at these places [n, 2] see."""
    reach = np.arange(-VIEW, VIEW + 1)
    view = road[at[:, 0, None, None] + reach[:, None], at[:, 1, None, None] + reach].reshape(len(at), -1)
    to_goal = goal - at
    signs = np.concatenate([to_goal > 0, to_goal == 0, to_goal < 0], 1)
    return np.concatenate([view, np.eye(4)[heading], signs, to_goal / SIDE], 1).astype(np.float32)


@dataclass
class Driven:
    """What became of n drives."""

    off_road: np.ndarray  # [n] bool: crashed
    arrived: np.ndarray  # [n] bool
    crash: np.ndarray  # [n, 2], where it crashed; -1 where it did not
    visited: np.ndarray  # [n, SIDE, SIDE] bool
    inputs: np.ndarray  # [steps, INPUTS], all that was seen on the way
    moves: np.ndarray  # [steps]
    of: np.ndarray  # [steps], the drive of each step


def drive(road: np.ndarray, drives: Drive, policy: Policy) -> Driven:
    """Let a policy drive until it arrives, crashes or is lost."""
    n = len(drives.start)
    at, heading = drives.start.copy(), _first_heading(drives)
    arrived, off_road = np.zeros((2, n), dtype=bool)
    crash, visited = np.full((n, 2), -1), np.zeros((n, SIDE, SIDE), dtype=bool)
    visited[np.arange(n), at[:, 0], at[:, 1]] = True
    log: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for _ in range(PATIENCE):
        going = np.flatnonzero(~arrived & ~off_road)
        if not going.size:
            break
        inputs = seen(road, at[going], heading[going], drives.goal[going])
        moves = policy(inputs)
        log.append((inputs, moves, going))
        at[going] += MOVES[moves]
        heading[going] = moves
        off_road[going] = ~road[at[going, 0], at[going, 1]]
        crash[off_road & (crash[:, 0] < 0)] = at[off_road & (crash[:, 0] < 0)]
        visited[going, at[going, 0], at[going, 1]] = True
        arrived[going] = (at[going] == drives.goal[going]).all(1)
    inputs, moves, of = (np.concatenate(column) for column in zip(*log, strict=True))
    return Driven(off_road, arrived, crash, visited, inputs, moves, of)


def expert(road: np.ndarray, drives: Drive) -> Driven:
    """The driver's way for each drive: the shortest, straight on where that is as short."""
    places = np.unique(drives.goal, axis=0)
    steps = np.stack([distances(road, tuple(goal)) for goal in places])
    of_goal = {tuple(goal): i for i, goal in enumerate(places)}
    goals = np.array([of_goal[tuple(goal)] for goal in drives.goal])
    n = len(goals)
    at, heading = drives.start.copy(), _first_heading(drives)
    log: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    visited = np.zeros((n, SIDE, SIDE), dtype=bool)
    visited[np.arange(n), at[:, 0], at[:, 1]] = True
    while (going := np.flatnonzero((at != drives.goal).any(1))).size:
        cost = np.stack([steps[goals[going], at[going, 0] + m[0], at[going, 1] + m[1]] for m in MOVES], 1).astype(float)
        cost[np.arange(len(going)), heading[going]] -= 0.5
        moves = cost.argmin(1)
        log.append((seen(road, at[going], heading[going], drives.goal[going]), moves, going))
        at[going] += MOVES[moves]
        heading[going] = moves
        visited[going, at[going, 0], at[going, 1]] = True
    inputs, moves, of = (np.concatenate(column) for column in zip(*log, strict=True))
    done = np.ones(n, dtype=bool)
    return Driven(~done, done, np.full((n, 2), -1), visited, inputs, moves, of)


def _first_heading(drives: Drive) -> np.ndarray:
    """Towards the goal, north or south first."""
    away = drives.goal - drives.start
    return np.where(away[:, 0] < 0, 0, np.where(away[:, 0] > 0, 2, np.where(away[:, 1] > 0, 1, 3)))
