"""Worlds of task lives, and what it costs to poll them: the planner, a fixed interval, an exponential one, an oracle.

`world` says what a world is, `tuned` has those that constants may be tuned on, `held_back` the others. `runner` drives
the real planner over them in virtual time, `references` and `oracle` have what it is compared with, `curves` keeps what
the oracle costs, `figures` makes the table.

How a world is written
- A world is a name and a function that draws one `Life` from a `random.Random` and from where in the run the task
  starts, from 0 to 1. All its times are seconds since the task was submitted.
- A life is a row of `Step`s, what a record shows from when on, and an `end`. The first step begins at 0. A step tells
  progress, status, and the `startTime` of the record as seconds since the submission, None for none.
- `write` makes a life of one of `benchmarks.lives`, with a queue or a wait inside its `startTime`; `bent` bends how its
  progress goes. `steps` may also be written by hand.
- How answers come is the world's: `latency`, `skews` of the `Date`, `batch`, `at_once`, `made`. Where lives change with
  where in the run they start, `phases` says in how many parts the oracle is told of it.
- Nothing may be drawn but from the `random.Random` that is handed in, so that a seed gives the same lives. Names are
  unlike in both halves, as they are part of the seed.
- What the oracle takes is made at the next full run, some twenty seconds a world, and kept in `oracle.json`, which is
  committed. It is made anew where lives or the oracle have changed.

    def _stops(chance: random.Random, where: float) -> Life:
        end = chance.uniform(50.0, 60.0)
        stops = (Step(0.0, None, Status.SUBMITTED), Step(5.0, 0, started=5.0), Step(end / 2, 50, started=5.0))
        return Life(end, stops, fails=chance.random() < 0.1, kind="VARIATION")

    WORLDS = (World("stops half-way", _stops, batch=4, skews=(0.0, None)),)

A half of the worlds is a module with `WORLDS`, a tuple of `World`s, and a row in `HALVES` of `figures`. The held-back
half was written without a look at the policy. No constant is tuned on it, and none of its worlds is changed because a
policy does badly there; each half has its figures apart.

    python -m benchmarks worlds [--half tuned|held-back] [--short] [--check] [--write]
"""
