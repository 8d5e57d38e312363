"""Load for a mail server, and somewhere to put it: a source, a sink with manners, and the demo.

`source` injects numbered messages, `sink` receives them and remembers each number, `account`
compares what was accepted, logged and received. The source and the sink share nothing with the
server under test but the compiled SMTP kernels.
"""
