"""The processes: a supervisor that owns sockets and node state, workers that own shards.

`master` starts and watches, `worker` is the composition root of one process, `channel` is how they
talk, `control` answers the command line, `state` is the node's SQLite database.
"""
