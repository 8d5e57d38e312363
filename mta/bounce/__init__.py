"""What becomes of mail that failed: notifications to senders, and the dead letters."""
