"""Mailrace, a mail transfer agent.

The way of a message: `smtpd` (bytes become a transaction) > `reception` (the one way in) > `spool`
(on disk before the 250) > `queues` > `routing` > `shaping` > `delivery` > `maillog`.
"""
