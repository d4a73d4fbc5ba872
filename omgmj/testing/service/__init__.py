"""The make-believe service itself: what it answers to a request at `now`, and what goes wrong on purpose.

Pure, and it shares nothing with the client but `UsageError`: the contract stands here in a second copy, so that one
mistake does not hide another. It takes requests to the letter and keeps what it refused.

`simulator` is the door. `endpoints` and `request_bodies` read what is asked, `account` keeps the tasks, `lives` says
how each goes, `actions` what a finished one offers, `task_list` shows them in pages. `faults` is the table of all that
can go wrong, `fault_injection` says which request it befalls.

Moving bytes, waiting and breaking connections are left to the room above.
"""
