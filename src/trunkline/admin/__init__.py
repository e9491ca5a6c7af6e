"""What an operator sees of the rooms: metrics, and the dashboard's figures."""
