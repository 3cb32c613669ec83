"""The fuzzing client: runs the suite's cases against one server, several at a time, one connection a case."""

import time

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol

from cases import text, wire

# a case that ends by itself takes at most about 10 s
PATIENCE = 30.0


class CaseProtocol(WebSocketClientProtocol):
    """What a case calls `self.p`: the library's client, which may break every rule, plus the suite's timers."""

    def __init__(self, case):
        super().__init__()
        self.connectionWasOpen = False
        self.createWirelog = False
        self.txFrameStats = {}
        self.finished = None
        self.started = time.monotonic()
        self.runCase = case(self)

    # the suite's timers

    def continueLater(self, delay, fun, tag=None):
        reactor.callLater(delay, lambda: self.state != WebSocketProtocol.STATE_CLOSED and fun())

    def killAfter(self, delay):
        self.continueLater(delay, self.failConnection)

    def closeAfter(self, delay):
        self.continueLater(delay, self.sendClose)

    def failConnection(self, *args):
        # the library's method of that name moved and takes a code and a reason
        self._fail_connection(*(args or (self.CLOSE_STATUS_CODE_GOING_AWAY, "going away")))

    def enableWirelog(self, enable):
        self.createWirelog = enable

    # the suite's strings to bytes

    def sendFrame(self, opcode, payload=b"", fin=True, rsv=0, mask=None, payload_len=None, chopsize=None, sync=False):
        super().sendFrame(opcode, wire(payload), fin, rsv, wire(mask), payload_len, chopsize, sync)
        self.txFrameStats[opcode] = self.txFrameStats.get(opcode, 0) + 1

    def sendMessage(self, payload, isBinary=False, **options):
        super().sendMessage(wire(payload), isBinary, **options)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, wire(reasonUtf8), isReply)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(wire(payload), sync)

    # events, as the suite's strings

    def onOpen(self):
        self.connectionWasOpen = True
        self.runCase.onOpen()

    def onMessage(self, payload, isBinary):
        self.runCase.onMessage(text(payload), isBinary)

    def onPing(self, payload):
        self.runCase.onPing(text(payload))

    def onPong(self, payload):
        self.runCase.onPong(text(payload))

    def onClose(self, wasClean, code, reason):
        self.runCase.onClose(wasClean, code, reason)

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.runCase.onConnectionLost(self.failedByMe)
        self.finished(self.outcome())

    def outcome(self):
        case = self.runCase
        return {
            "behavior": case.behavior,
            "behaviorClose": case.behaviorClose,
            "result": case.result,
            "resultClose": case.resultClose,
            "remoteCloseCode": self.remoteCloseCode,
            "received": [clip(event) for event in case.received],
            "milliseconds": round((time.monotonic() - self.started) * 1000),
        }


def clip(event):
    return [part[:64] + "…" if isinstance(part, str) and len(part) > 64 else part for part in event]


def broken(why):
    return {
        "behavior": "UNIMPLEMENTED",
        "behaviorClose": "UNIMPLEMENTED",
        "result": why,
        "resultClose": why,
        "remoteCloseCode": None,
        "received": [],
        "milliseconds": 0,
    }


class Run:
    """All chosen cases against one URL."""

    def __init__(self, url, cases, parallel, origin=None, protocols=()):
        self.factory = WebSocketClientFactory(
            url, origin=origin, protocols=list(protocols), useragent="conformance-suite"
        )
        self.factory.setProtocolOptions(failByDrop=False)
        self.endpoint = HostnameEndpoint(reactor, self.factory.host, self.factory.port)
        self.waiting = list(cases.items())
        self.running = 0
        self.stopped = False
        self.parallel = parallel
        self.results = {}

    def go(self):
        reactor.callWhenRunning(self.fill)
        reactor.run()
        return self.results

    def fill(self):
        while self.waiting and self.running < self.parallel:
            self.start(*self.waiting.pop(0))
        if not self.waiting and not self.running and not self.stopped:
            self.stopped = True
            reactor.stop()

    def start(self, case_id, case):
        self.running += 1
        protocol = CaseProtocol(case)
        protocol.factory = self.factory
        overdue = reactor.callLater(PATIENCE, lambda: done(broken(f"no end after {PATIENCE:.0f} s"), kill=True))

        def done(result, kill=False):
            if case_id in self.results:
                return
            self.results[case_id] = result
            if overdue.active():
                overdue.cancel()
            if kill and protocol.transport:
                protocol.transport.abortConnection()
            self.running -= 1
            reactor.callLater(0, self.fill)

        protocol.finished = done
        connecting = connectProtocol(self.endpoint, protocol)
        connecting.addErrback(lambda failure: done(broken(f"not connected: {failure.getErrorMessage()}")))
