"""The command line, `omgmj`: cyclopts reads it, rich draws it.

It does with tasks only what a user of `Session` could do, and is given no part of what stands behind. Records go to
standard output, all else to standard error; nothing shown can steer a terminal. aiohttp takes longer to import than the
rest, so each command imports what needs it.

`app` is the program, a command a function: its own, and those of `create_tasks`, `list_tasks` and `demo`. `runner` runs
one and `exit_codes` has its results, `options` are what commands share, `config` says where settings come from. `view`
shows records and messages, `progress_bar` and `live_rows` what moves.
"""
