"""Durable consumers: code that handles each message of many rooms, in order, at least once."""
