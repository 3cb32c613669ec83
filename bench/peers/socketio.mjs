#!/usr/bin/env node
// Socket.IO with its Redis adapter behind the generator's protocol: rooms and nothing else, no check.
let modules;
try {
  modules = await Promise.all([import("socket.io"), import("@socket.io/redis-adapter"), import("redis")]);
} catch {
  console.error("socket.io, @socket.io/redis-adapter and redis are not installed: npm ci in bench/peers");
  process.exit(75);
}
const [{ Server }, { createAdapter }, { createClient }] = modules;
const { createServer } = await import("node:http");

const publisher = createClient({ url: `redis://127.0.0.1:${process.env.REDIS_PORT}` });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer((_, res) => res.end("ok"));
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  transports: ["websocket"],
  perMessageDeflate: false,
  // longer than any run: nobody pings while it is measured
  pingInterval: 3_600_000,
});
io.on("connection", (socket) => {
  let room;
  socket.on("join", (name, ack) => {
    room = name;
    socket.join(name);
    ack();
  });
  socket.on("chat", (payload) => io.to(room).emit("chat", payload));
});
http.listen({ port: Number(process.env.PORT), host: "127.0.0.1", backlog: 1024 });
