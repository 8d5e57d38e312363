"""Where a recipient's mail goes: rule, mail servers, site, connection targets."""
