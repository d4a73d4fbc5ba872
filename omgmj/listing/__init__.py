"""The account's tasks, read page after page for a user.

The list is newest first and moves while it is read: tasks made meanwhile push the others to later pages. Here that is
hidden: no ID comes twice, and none that was there from the beginning is missed.

`tasks` is the iterator and its filter. `page_drift` has the cursor of a list that moves: it chooses the next page.
`reconcile` searches for the task of a lost answer. A page is fetched by whoever makes a `Tasks`; nothing here sends or
knows of watches. Reading the list so as to poll many IDs at once is a sweep: that is planned in `scheduler` and done in
`polling`.
"""
