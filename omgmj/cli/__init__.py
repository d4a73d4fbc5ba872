"""The command line, `omgmj`: cyclopts reads it, rich draws it.

It does with tasks only what a user of `Session` could do, and is given no part of what stands behind. Records go to
standard output, all else to standard error; nothing shown can steer a terminal. aiohttp takes longer to import than the
rest, so each command imports what needs it.

`app` is the program. The commands are functions in `query_and_watch`, `create_tasks`, `list_tasks`, `queue_commands`
and `demo`; what they share as options stands in `options`, which IDs they are about in `task_ids`. `runner` runs one,
`exit_codes` says how it may end, `config` where settings come from.

`view` shows what comes: results as a `table` or as `json_lines`, how far it is by `progress_display` (drawn by
`progress_bar`, its rows fed by `live_rows`), a `tally` of it all, and `resume_advice` at an interrupt. `terminal` is
the standard streams.
"""
