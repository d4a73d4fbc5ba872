"""The bare simulation: the planner polls drawn lives, in plain virtual time. Nothing of the stack runs above it."""

from __future__ import annotations

import random

from benchmarks.lives import Run, Score
from benchmarks.worlds import runner
from benchmarks.worlds.world import Stream, World, write
from omgmj import Policy


def rolled(policy: Policy, seed: int) -> Policy:
    """Return the policy with chance drawn by task and poll, so that two runs of the same lives draw alike."""
    return lambda facts, _: policy(facts, random.Random(f"{seed} {facts.task_id} {facts.attempt}").random())


def simulate(run: Run, policy: Policy) -> Score:
    """Poll each task of the run from its start until its end is seen; answers take no time."""
    lives = [write(life) for life in run.lives]
    world = World("a run", lambda chance, _: chance.choice(lives), latency=lambda _: 0.0, made=False)
    return runner.score_of(runner.watch(world, Stream(run.starts, lives, 0), policy))
