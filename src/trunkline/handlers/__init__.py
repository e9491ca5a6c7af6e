"""Code of the application that hears clients: hooks, calls, and what they are run by."""
