-- The traces of messages (core/trace.py).
ALTER TABLE messages ADD COLUMN trace TEXT;  -- traceparent and, behind a space, tracestate; NULL if it has none
