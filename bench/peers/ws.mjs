#!/usr/bin/env node
// `ws`, the usual server of Node.js, behind the generator's protocol: rooms are sets, nothing is checked.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const http = createServer((_, res) => res.end("ok"));
const rooms = new Map();

new WebSocketServer({
  server: http,
  maxPayload: 64 * 1024,
  perMessageDeflate: false,
  handleProtocols: () => "portcullis.v1.json",
}).on("connection", (ws) => {
  const joined = new Set();
  ws.send('{"type":"welcome","payload":{"csrfToken":"none"}}');
  ws.on("message", (data) => {
    const { type, to } = JSON.parse(data);
    if (type === "join") {
      if (!rooms.has(to.room)) rooms.set(to.room, new Set());
      rooms.get(to.room).add(ws);
      joined.add(to.room);
      ws.send('{"type":"ack","id":"1"}');
    } else {
      for (const member of rooms.get(to.room) ?? []) member.send(data, { binary: false });
    }
  });
  ws.on("error", () => {});
  ws.on("close", () => {
    for (const room of joined) rooms.get(room).delete(ws);
  });
});

http.listen({ port: Number(process.env.PORT), host: "127.0.0.1", backlog: 1024 });
