"""Access: who a client is, what it may do, and how that is taken back."""
