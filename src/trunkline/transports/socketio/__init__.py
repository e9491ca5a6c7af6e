"""Clients of Socket.IO as readers and writers of rooms. The API of its servers stands on top (`trunkline.socketio`)."""
