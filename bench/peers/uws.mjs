#!/usr/bin/env node
// uWebSockets behind the generator's protocol, with its own publish and nothing else: no token, no limit, no check.
import uws from "uwebsockets";

const port = Number(process.env.PORT);

uws
  .App()
  .ws("/*", {
    maxPayloadLength: 64 * 1024,
    idleTimeout: 120,
    maxBackpressure: 1024 * 1024,
    upgrade(res, req, context) {
      res.upgrade({}, req.getHeader("sec-websocket-key"), "portcullis.v1.json", req.getHeader("sec-websocket-extensions"), context);
    },
    open(ws) {
      ws.send('{"type":"welcome","payload":{"csrfToken":"none"}}');
    },
    message(ws, data) {
      const text = Buffer.from(data).toString();
      const { type, to } = JSON.parse(text);
      if (type === "join") {
        ws.subscribe(to.room);
        ws.send('{"type":"ack","id":"1"}');
      } else {
        ws.publish(to.room, text); // to the others
        ws.send(text);
      }
    },
  })
  .any("/*", (res) => res.end("ok"))
  .listen("127.0.0.1", port, (listening) => {
    if (!listening) process.exit(1);
  });
