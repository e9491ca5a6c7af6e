// Socket.IO with connection state recovery on, and room for everybody: what its documentation recommends.
import { Server } from "socket.io";

const io = new Server(Number(process.argv[2]), {
  transports: ["websocket"],
  connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true },
});
io.on("connection", (socket) => socket.on("publish", (data, ack) => {
  io.emit("message", data);
  ack();
}));
