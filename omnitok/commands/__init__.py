"""The commands, one file each. They are imported by name when they run, and nothing else imports them."""
