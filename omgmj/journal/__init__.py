"""The journal: what is waited for and what was submitted, kept so that a process that dies can resume.

`SqliteJournal` keeps it in a file, `MemoryJournal` in memory, for tests; `journal` has the protocol that both follow,
and the values that pass through it. A journal is synchronous and knows no event loop. It belongs to one account at one
host (`account`), and shows no token: it has salted fingerprints. Contexts and submissions are stored as JSON
(`contexts`).

`ledger` is what a session talks to, in its event loop: who holds which ID, which submissions are under way. `writer`
brings changes to the journal, a batch at a time, in a thread of its own. Rules: an ID's row stays until its consumer
has had its end. An intent is on disk before it is sent. A disk that fails stops neither polls nor deliveries.

`file` opens the file, `schema` is its form. What is damaged is never deleted: `damage` sets it aside and saves what can
be read.
"""
