"""Task queues, each in its way of making processes: what their tasks publish."""
