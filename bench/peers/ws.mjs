// A peer for comparison: rooms and echo on npm `ws`, with just enough of the wire contract for the generator and no
// security at all. Start with PORT set, `ws` resolvable from NODE_PATH or the working directory.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import process from "node:process";

const { WebSocketServer } = createRequire(`${process.env.PEER_MODULES ?? process.cwd()}/`)("ws");
const rooms = new Map();
const server = createServer((_, res) => res.end("ready"));
const wss = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered][0] });

function leave(socket) {
  for (const room of socket.rooms ?? []) {
    rooms.get(room)?.delete(socket);
    if (rooms.get(room)?.size === 0) rooms.delete(room);
  }
}

function enter(socket, room) {
  if (!rooms.has(room)) rooms.set(room, new Set());
  rooms.get(room).add(socket);
  socket.rooms.push(room);
}

function hear(socket, data) {
  const message = JSON.parse(data);
  const timestamp = Date.now();
  if (message.type === "join") {
    enter(socket, message.to.room);
    socket.send(JSON.stringify({ type: "ack", id: message.id, payload: {}, timestamp }));
  } else if (message.type === "health-check") {
    socket.send(JSON.stringify({ type: "health-check", payload: {}, timestamp }));
  } else if (message.type === "chat") {
    const text = JSON.stringify({ type: "chat", payload: message.payload, room: message.to.room, timestamp });
    for (const member of rooms.get(message.to.room) ?? []) member.send(text);
  }
}

server.on("upgrade", (request, stream, head) => {
  wss.handleUpgrade(request, stream, head, (socket) => {
    socket.on("error", () => {});
    if (request.url !== "/ws") return socket.on("message", (data) => socket.send(data, { binary: false }));
    socket.rooms = [];
    socket.on("message", (data) => hear(socket, data));
    socket.on("close", () => leave(socket));
    socket.send(JSON.stringify({ type: "welcome", payload: { csrfToken: "none" }, timestamp: Date.now() }));
  });
});
server.headersTimeout = 5000;
server.listen({ port: Number(process.env.PORT), host: "127.0.0.1", backlog: 1024 });
