"""The one way in: policy, header checks, Received, id; the same for SMTP and HTTP."""
