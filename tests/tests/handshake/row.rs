//! One request and its answer.

use portcullis_common::wire::code::Code;
use portcullis_tests::client::{ACCEPT, KEY};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::raw::{Answer, Wire};
use portcullis_tests::{tokens, wait};

/// Stands for something secret in a query; must never be logged.
pub const QUERY_MARK: &str = "qv-5f3a9c-secret";
/// The address that the gateway of these tests takes for a proxy.
pub const PROXY: &str = "127.0.0.9";

/// A gateway with four issuers, strict origins, a cookie and one trusted proxy.
pub fn strict() -> Setup {
    let issuers = r#"
[[auth.issuer]]
name = "partner"
issuer = "https://partner.test"
audience = "portcullis"
algorithms = ["RS256", "PS256"]
public_key_file = "partner.pem"
user_prefix = "partner:"
[[auth.issuer]]
name = "edge"
issuer = "https://edge.test"
audience = "portcullis"
algorithms = ["ES256"]
public_key_file = "edge.pem"
user_prefix = "edge:"
"#;
    Setup::default()
        .replace("missing = \"allow\"", "missing = \"deny\"")
        .replace("secret_file =", "cookie = \"__Host-token\"\nsecret_file =")
        .toml(issuers)
        .file("partner.pem", &tokens::rsa().public_pem)
        .file("edge.pem", &tokens::p256().public_pem)
        .toml(&format!("[listen]\ntrusted_proxies = [\"{PROXY}/32\"]\n"))
        .set("log.filter", "trace")
        .set("session.max_per_user", "1000")
}

/// A request, piece by piece; begins as a good one.
#[derive(Clone)]
pub struct Request {
    line: (String, String, String),
    fields: Vec<(String, Vec<u8>)>,
    tail: Vec<u8>,
    /// Sent instead of everything else.
    raw: Option<Vec<u8>>,
    from: &'static str,
}

impl Request {
    /// A handshake with nothing wrong with it.
    pub fn good(token: &str) -> Self {
        let none = Self {
            line: ("GET".into(), "/ws".into(), "HTTP/1.1".into()),
            fields: Vec::new(),
            tail: Vec::new(),
            raw: None,
            from: "127.0.0.1",
        };
        none.add("Host", "gateway.test")
            .add("Upgrade", "websocket")
            .add("Connection", "Upgrade")
            .add("Sec-WebSocket-Version", "13")
            .add("Sec-WebSocket-Key", KEY)
            .add("Origin", "https://app.test")
            .add("Authorization", &format!("Bearer {token}"))
    }

    /// Exactly these bytes.
    pub fn raw(bytes: &[u8]) -> Self {
        Self { raw: Some(bytes.to_vec()), ..Self::good("") }
    }

    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.line.0);
        self
    }

    pub fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.line.1);
        self
    }

    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.line.2);
        self
    }

    /// One more field, whatever is there already.
    pub fn add(self, name: &str, value: &str) -> Self {
        self.add_bytes(name, value.as_bytes())
    }

    pub fn add_bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.fields.push((name.to_owned(), value.to_vec()));
        self
    }

    /// Without a field that has to be there.
    pub fn without(mut self, name: &str) -> Self {
        let before = self.fields.len();
        self.fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        assert!(self.fields.len() < before, "{name} is not there");
        self
    }

    /// With another value in a field that has to be there.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).add(name, value)
    }

    /// Bytes behind the head.
    pub fn tail(mut self, bytes: &[u8]) -> Self {
        self.tail = bytes.to_vec();
        self
    }

    /// From this address of the machine.
    pub fn from(mut self, ip: &'static str) -> Self {
        self.from = ip;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        if let Some(bytes) = &self.raw {
            return bytes.clone();
        }
        let (method, target, version) = &self.line;
        let mut bytes = format!("{method} {target} {version}\r\n").into_bytes();
        for (name, value) in &self.fields {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.tail);
        bytes
    }

    fn wire(&self, gateway: &Gateway) -> Wire {
        let mut wire = Wire::from(self.from, gateway.public).expect("a connection");
        wire.write(self.bytes()).expect("a request");
        wire
    }
}

/// A refusal: name, request, status, code.
pub type Bad = (&'static str, Request, u16, &'static str);

/// Sends all rows and checks each in full; reports all that differ at once.
pub fn refused(gateway: &Gateway, rows: &[Bad]) {
    let mut wrong = Vec::new();
    for (name, request, status, code) in rows {
        let mut wire = request.wire(gateway);
        let problems = match wire.answer() {
            None => vec!["no answer".to_owned()],
            Some(answer) => {
                let mut problems = differences(&answer, *status, code, request.line.0 == "HEAD");
                if !wire.ends() {
                    problems.push("more is said, or the connection stays open".into());
                }
                problems
            }
        };
        if !problems.is_empty() {
            wrong.push(format!("{name}: {}", problems.join("; ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows differ:\n  {}", wrong.len(), rows.len(), wrong.join("\n  "));
}

/// What is wrong with a refusal.
fn differences(answer: &Answer, status: u16, code: &str, head_only: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut same = |what: &str, found: Option<&str>, wanted: Option<&str>| {
        if found != wanted {
            wrong.push(format!("{what} is {found:?}, not {wanted:?}"));
        }
    };
    let all = |name: &str| -> Option<String> {
        let values: Vec<&str> =
            answer.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(" & "))
    };
    same("the status", Some(&answer.status.to_string()), Some(&status.to_string()));
    let socket_426 = status == 426 && code == "malformed";
    for (name, wanted) in [
        ("content-type", Some("application/json")),
        ("x-content-type-options", Some("nosniff")),
        ("content-security-policy", Some("default-src 'none'; frame-ancestors 'none'")),
        ("cache-control", Some("no-store")),
        ("referrer-policy", Some("no-referrer")),
        ("connection", Some(if status == 426 { "close, upgrade" } else { "close" })),
        ("server", None),
        ("x-powered-by", None),
        ("strict-transport-security", None),
        ("access-control-allow-origin", None),
        ("transfer-encoding", None),
        ("retry-after", None),
        ("www-authenticate", (status == 401).then_some("Bearer")),
        ("allow", (status == 405).then_some("GET")),
        ("sec-websocket-version", socket_426.then_some("13")),
        ("upgrade", socket_426.then_some("websocket")),
    ] {
        same(name, all(name).as_deref(), wanted);
    }
    if !head_only {
        wrong.extend(body_differences(answer, code));
    }
    wrong
}

fn body_differences(answer: &Answer, code: &str) -> Vec<String> {
    let body = answer.json();
    let text = Code::ALL.iter().find(|c| c.info().name == code).map(|c| c.info().message).expect("a code");
    let names = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().map(|members| members.keys().cloned().collect()).unwrap_or_default()
    };
    let payload = &body["payload"];
    let mut wrong = Vec::new();
    if names(&body) != ["payload", "timestamp", "type"] || names(payload) != ["code", "message", "requestId"] {
        wrong.push(format!("the body is {}", String::from_utf8_lossy(&answer.body)));
    }
    if payload["code"] != code {
        wrong.push(format!("the code is {}, not {code}", payload["code"]));
    } else if payload["message"] != text {
        wrong.push(format!("the message is {}", payload["message"]));
    }
    if payload["requestId"].as_str().is_none_or(|id| id.len() != 26) {
        wrong.push(format!("the request id is {}", payload["requestId"]));
    }
    if body["timestamp"].as_u64().is_none_or(|ms| ms.abs_diff(wait::wall().0) > 60_000) {
        wrong.push(format!("the time is {}", body["timestamp"]));
    }
    wrong
}

/// A session: name, request, the subprotocol of the answer.
pub type Good = (&'static str, Request, Option<&'static str>);

/// Sends all rows; each has to become a session.
pub fn admitted(gateway: &Gateway, rows: &[Good]) {
    let mut wrong = Vec::new();
    for (name, request, protocol) in rows {
        let Some(answer) = request.wire(gateway).answer() else {
            wrong.push(format!("{name}: no answer"));
            continue;
        };
        if answer.status != 101 {
            wrong.push(format!("{name}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)));
            continue;
        }
        for (field, wanted) in [
            ("sec-websocket-accept", Some(ACCEPT)),
            ("upgrade", Some("websocket")),
            ("connection", Some("Upgrade")),
            ("sec-websocket-protocol", *protocol),
            ("sec-websocket-extensions", None),
            ("server", None),
            ("x-content-type-options", Some("nosniff")),
        ] {
            if answer.header(field) != wanted {
                wrong.push(format!("{name}: {field} is {:?}, not {wanted:?}", answer.header(field)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows differ:\n  {}", wrong.len(), rows.len(), wrong.join("\n  "));
}

/// Neither the log nor the metrics hold any of these, nor anything that looks like a token.
pub fn assert_nothing_leaked(gateway: &Gateway, secrets: &[&str]) {
    let log = wait::until("the log", || {
        Some(gateway.log()).filter(|log| log.contains("handshake_refused") || log.contains("session_opened"))
    });
    let metrics = gateway.metrics_text();
    // `eyJ` begins every JWT, because `{"` does
    for secret in secrets.iter().copied().chain(["eyJ", tokens::SECRET, QUERY_MARK]) {
        for (place, text) in [("log", &log), ("metrics", &metrics)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "the {place} holds a secret: {}", line.unwrap_or_default());
        }
    }
}
