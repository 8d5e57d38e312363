"""The spool held against the log: what is missing, what is damaged, what can be saved.

`losses` is the file that says what a shard has lost, `unended` finds it in the log, `check` looks
at a whole shard through `source`, `repair` makes one that opens, with what `remake` makes again.
"""
