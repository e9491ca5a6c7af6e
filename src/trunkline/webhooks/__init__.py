"""HTTP to applications: messages and events by webhooks, and hooks that are asked by a request."""
