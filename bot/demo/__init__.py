"""The demo: one page with the chat and both mailboxes, and a mail server of its own on loopback."""
