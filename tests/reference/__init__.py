"""Plain twins of the compiled kernels, and what holds them together.

Every `NAME.pyx` has its line: the twin, and the hypothesis test that compares both.
A module that is Python with a `.pxd` is its own twin: `make test-debug` runs its tests uncompiled.
A kernel outside of `_speedups` knows such modules: its twin, by the same names, stands in for it.
"""

TWINS = {
    "bodylog": ("bodylog", "unit/speedups/test_bodylog.py"),
    "client": ("client", "fuzz/test_client.py"),
    "client_words": ("client", "fuzz/test_client_words.py"),
    "command": ("command", "unit/speedups/test_command.py"),
    "crc32c": ("crc32c", "unit/speedups/test_crc32c.py"),
    "dots": ("content", "unit/speedups/test_dots.py"),
    "encoder": ("encoder", "unit/spool/test_encoder.py"),
    "envelope": ("server", "fuzz/test_envelope.py"),
    "gcra": ("gcra", "fuzz/test_shaping.py"),
    "headers": ("headers", "unit/speedups/test_headers.py"),
    "ids": ("ids", "unit/speedups/test_ids.py"),
    "lines": ("lines", "unit/speedups/test_lines.py"),
    "logline": ("logline", "unit/maillog/test_logline.py"),
    "reply": ("client", "unit/smtp/test_client_kernels.py"),
    "server": ("server", "fuzz/test_server.py"),
    "server_events": ("server", "fuzz/test_server.py"),
    "server_options": ("server_words", "fuzz/test_server_words.py"),
    "server_replies": ("server_words", "fuzz/test_server_words.py"),
    "server_states": ("server", "fuzz/test_server.py"),
    "sharedtable": ("sharedtable", "fuzz/test_table.py"),
    "stuff": ("client", "unit/smtp/test_client_kernels.py"),
    "values": ("values", "unit/speedups/test_values.py"),
    "verdict": ("verdict", "unit/smtp/test_replies.py"),
}
