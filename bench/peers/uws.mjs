// A peer for comparison: rooms and echo on uWebSockets (npm `uwebsockets`), with just enough of the wire contract for
// the generator and no security at all. Start with PORT set and PEER_MODULES naming a folder with `node_modules`.
import { createRequire } from "node:module";
import process from "node:process";

const uws = createRequire(`${process.env.PEER_MODULES ?? process.cwd()}/`)("uwebsockets");
const decoder = new TextDecoder();
const app = uws.App();
const limits = { maxPayloadLength: 64 * 1024, maxBackpressure: 256 * 1024, idleTimeout: 0, sendPingsAutomatically: false };

function hear(socket, data) {
  const message = JSON.parse(decoder.decode(data));
  const timestamp = Date.now();
  if (message.type === "join") {
    socket.subscribe(message.to.room);
    socket.send(JSON.stringify({ type: "ack", id: message.id, payload: {}, timestamp }));
  } else if (message.type === "health-check") {
    socket.send(JSON.stringify({ type: "health-check", payload: {}, timestamp }));
  } else if (message.type === "chat") {
    const room = message.to.room;
    app.publish(room, JSON.stringify({ type: "chat", payload: message.payload, room, timestamp }));
  }
}

app.ws("/diagnostics/echo", { ...limits, message: (socket, data) => socket.send(data, false) });
app.ws("/ws", {
  ...limits,
  open: (socket) =>
    socket.send(JSON.stringify({ type: "welcome", payload: { csrfToken: "none" }, timestamp: Date.now() })),
  message: hear,
});
app.get("/", (response) => response.writeHeader("Connection", "close").end("ready", true));
app.listen("127.0.0.1", Number(process.env.PORT), (listening) => {
  if (!listening) process.exit(1);
});
