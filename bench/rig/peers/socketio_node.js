// socket.io 4: io.to("room").emit().  node socketio_node.js PORT
const http = require('http').createServer();
const { Server } = require(process.env.BENCH_NPM + '/socket.io');
const io = new Server(http, { transports: ['polling', 'websocket'] });
io.on('connection', (s) => {
  if (s.handshake.query.pub) s.on('pub', (d) => io.to('room').emit('m', d));
  else if (s.handshake.query.echo) s.on('echo', (d) => s.emit('m', d));
  else s.join('room');
});
http.listen({ port: +process.argv[2], host: '127.0.0.1', backlog: 4096 });
