"""Ways to hand a message over: SMTP, LMTP, commands, HTTP, maildirs and files."""
