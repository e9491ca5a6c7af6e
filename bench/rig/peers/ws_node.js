// npm `ws`: the broadcast loop of its README.  node ws_node.js PORT
const { WebSocketServer } = require(process.env.BENCH_NPM + '/ws');
const http = require('http');
const sse = new Set(), room = new Set();
const srv = http.createServer((req, res) => {           // SSE leg: plain node http
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  res.flushHeaders(); sse.add(res); req.on('close', () => sse.delete(res));
});
const wss = new WebSocketServer({ server: srv, perMessageDeflate: false });
wss.on('connection', (ws, req) => {
  if (req.url.startsWith('/pub')) ws.on('message', (d) => {
    const s = d.toString();
    for (const c of room) if (c.readyState === 1) c.send(s);
    if (sse.size) { const e = 'data: ' + s + '\n\n'; for (const r of sse) r.write(e); }
  });
  else if (req.url.startsWith('/echo')) ws.on('message', (d) => ws.send(d.toString()));
  else { room.add(ws); ws.on('close', () => room.delete(ws)); ws.on('error', () => {}); }
});
srv.listen({ port: +process.argv[2], host: '127.0.0.1', backlog: 4096 });
