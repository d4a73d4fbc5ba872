"""The make-believe service itself: what it answers to a request at `now`, and what goes wrong on purpose.

Pure, and it shares nothing with the client but `UsageError`: the contract stands here in a second copy, so that one
mistake does not hide another. It takes requests to the letter and keeps what it refused.

`simulator` is the door. `endpoints` and `request_bodies` read what is asked. `account` keeps the tasks: `lives` says
how each goes, `fake_task` how it is told, `actions` what a finished one offers, `pictures` draws its image. `task_list`
shows them in pages, `webhooks` says whom to call. `faults` is the table of all that can go wrong, `fault_injection`
says which request it befalls, `odd_records` what becomes of a record.

Moving bytes, waiting and breaking connections are left to the room above.
"""
