use super::super::facts::tests::{Edit, JWT, KEY, add, config, judge, numbered, offers, set, status, target};
use super::*;
use Edit::{Del, Method, Version};

#[test]
fn refusals_say_what_would_be_accepted() {
    let fields = |reject: Reject| refusal_fields(&reject).iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(fields(malformed("x").status(426)), ["Upgrade", "Sec-WebSocket-Version"]);
    assert_eq!(
        refusal_fields(&malformed("x").status(426)),
        [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    );
    assert_eq!(refusal_fields(&Reject::new(Code::Forbidden, "x").status(426)), [("Upgrade", "TLS/1.2, HTTP/1.1")]);
    assert_eq!(refusal_fields(&malformed("x").status(405)), [("Allow", "GET")]);
    assert_eq!(refusal_fields(&Reject::new(Code::Unauthenticated, "x")), [("WWW-Authenticate", "Bearer")]);
    assert!(fields(malformed("x")).is_empty());
}

fn accept(value: &str) -> Option<String> {
    let headers = vec![("sec-websocket-key", value.as_bytes())];
    key(&Head { method: "GET", target: "/ws".into(), version: (1, 1), headers }).ok()
}

#[test]
fn the_answer_to_a_key_is_that_of_the_rfc() {
    assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(accept(" x3JJHMbDL1EzLkh9GBhXDw== ").as_deref(), Some("HSmrc0sMlYUkAGmm5OPpG2HaGWk="));
}

proptest::proptest! {
    #[test]
    fn every_nonce_in_canonical_base64_is_a_key_and_nothing_else(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..24)) {
        proptest::prop_assert_eq!(accept(&STANDARD.encode(&bytes)).is_some(), bytes.len() == 16);
    }
}

fn refused(status_wanted: u16, code: Code, cases: Vec<(&str, Vec<Edit>)>) -> usize {
    let config = config();
    for (name, edits) in &cases {
        match judge(edits, &config) {
            Ok(_) => panic!("{name}: passed"),
            Err(reject) => {
                assert_eq!((status(&reject), reject.code), (status_wanted, code), "{name}: {}", reject.detail);
            }
        }
    }
    cases.len()
}

#[test]
fn methods_versions_paths_and_sizes_have_their_own_status() {
    let m = |m| vec![Method(m)];
    let p = |p: &str| vec![target(p)];
    let n = refused(
        405,
        Code::Malformed,
        vec![
            ("post", m("POST")),
            ("connect", vec![Method("CONNECT"), target("gw.example:443")]),
            ("head", m("HEAD")),
            ("options", m("OPTIONS")),
            ("lower case", m("get")),
            ("made up", m("GETX")),
        ],
    ) + refused(
        404,
        Code::Malformed,
        vec![
            ("root", p("/")),
            ("slash after", p("/ws/")),
            ("two slashes", p("//ws")),
            ("upper case", p("/WS")),
            ("encoded", p("/%77s")),
            ("dots", p("/x/../ws")),
            ("parameter", p("/ws;a=b")),
            ("longer", p("/ws2")),
            ("backslash", p("/ws\\")),
        ],
    ) + refused(
        426,
        Code::Malformed,
        vec![
            ("no upgrade", vec![Del("Upgrade")]),
            ("no upgrade at all", vec![Del("Upgrade"), set("Connection", "keep-alive")]),
            ("no version", vec![Del("Sec-WebSocket-Version")]),
            ("version 8", vec![set("Sec-WebSocket-Version", "8")]),
            ("version 14", vec![set("Sec-WebSocket-Version", "14")]),
            ("version 013", vec![set("Sec-WebSocket-Version", "013")]),
            ("version list", vec![set("Sec-WebSocket-Version", "13, 8")]),
            ("version empty", vec![set("Sec-WebSocket-Version", "")]),
        ],
    ) + refused(
        431,
        Code::TooLarge,
        vec![
            ("many fields", (0..60).map(|_| add("X-Filler", "1")).collect()),
            ("large field", vec![add("X-Filler", "a".repeat(16_384))]),
            ("large target", vec![target(format!("/ws?{}", "a".repeat(16_384)))]),
            ("large together", (0..40).map(|_| add("X-Filler", "a".repeat(500))).collect()),
        ],
    );
    assert_eq!(n, 27);
}

#[test]
fn heads_that_two_parsers_could_read_differently_are_malformed() {
    let t = |t: &str| vec![target(t)];
    let h = |v: &str| vec![set("Host", v)];
    let n = refused(
        400,
        Code::Malformed,
        vec![
            ("http/1.0", vec![Version(1, 0)]),
            ("http/2", vec![Version(2, 0)]),
            ("http/0.9", vec![Version(0, 9)]),
            ("absolute-form", t("http://gw.example/ws")),
            ("asterisk", t("*")),
            ("authority", t("gw.example:443")),
            ("empty target", t("")),
            ("fragment", t("/ws#a")),
            ("space in target", t("/ws HTTP/1.1")),
            ("unicode target", t("/wś")),
            ("control in target", t("/ws\u{7f}")),
            ("no host", vec![Del("Host")]),
            ("two hosts", vec![add("host", "gw.example:8443")]),
            ("empty host", h("")),
            ("host with path", h("gw.example/x")),
            ("host with user", h("a@gw.example")),
            ("host list", h("gw.example, evil.example")),
            ("host with space", h("gw.example evil.example")),
            ("host port", h("gw.example:99999")),
            ("host port name", h("gw.example:http")),
            ("host empty port", h("gw.example:")),
            ("host bracket", h("[::1")),
            ("host unicode", h("bücher.example")),
            ("host percent", h("gw%2eexample")),
            ("host scheme", h("https://gw.example")),
            ("content-length", vec![add("Content-Length", "5")]),
            ("large content-length", vec![add("Content-Length", "99999999999999999999")]),
            ("content-length 00", vec![add("Content-Length", "00")]),
            ("content-length +0", vec![add("Content-Length", "+0")]),
            ("two content-lengths", vec![add("Content-Length", "0"), add("Content-Length", "0")]),
            ("chunked", vec![add("Transfer-Encoding", "chunked")]),
            ("odd chunked", vec![add("transfer-encoding", "xchunked")]),
            ("expect", vec![add("Expect", "100-continue")]),
            ("folded", vec![add("X-A", "a\r\n b")]),
            ("bare lf", vec![add("X-A", "a\nX-B: c")]),
            ("bare cr", vec![add("X-A", "a\rb")]),
            ("nul", vec![add("X-A", "a\0b")]),
            ("del", vec![add("X-A", "a\u{7f}")]),
            ("escape", vec![add("User-Agent", "\u{1b}[31m")]),
            ("name with space", vec![add("X A", "a")]),
            ("name with colon", vec![add("X:A", "a")]),
            ("no name", vec![add("", "a")]),
            ("unicode name", vec![add("X-Ä", "a")]),
            ("name ends in space", vec![add("Transfer-Encoding ", "chunked")]),
        ],
    );
    assert_eq!(n, 44);
}

#[test]
fn upgrades_that_are_nearly_right_are_malformed() {
    let u = |v: &str| vec![set("Upgrade", v)];
    let c = |v: &str| vec![set("Connection", v)];
    let k = |v: &str| vec![set("Sec-WebSocket-Key", v)];
    let n = refused(
        400,
        Code::Malformed,
        vec![
            ("websocketx", u("websocketx")),
            ("prefix", u("xwebsocket")),
            ("list", u("websocket, h2c")),
            ("list before", u("h2c, websocket")),
            ("h2c", u("h2c")),
            ("versioned", u("websocket/13")),
            ("quoted", u("\"websocket\"")),
            ("empty", u("")),
            ("two", vec![add("Upgrade", "websocket")]),
            ("two kinds", vec![add("upgrade", "h2c")]),
            ("no connection", vec![Del("Connection")]),
            ("keep-alive", c("keep-alive")),
            ("close", c("close")),
            ("upgrades", c("upgrades")),
            ("two words", c("keep-alive Upgrade")),
            ("empty option", c("Upgrade,,close")),
            ("empty connection", c("")),
            ("many options", c(&format!("upgrade,{}", numbered(16)))),
            ("two versions", vec![add("Sec-WebSocket-Version", "13")]),
            ("no key", vec![Del("Sec-WebSocket-Key")]),
            ("two keys", vec![add("Sec-WebSocket-Key", KEY)]),
            ("short key", k("dGhlIHNhbXBsZQ==")),
            ("long key", k("dGhlIHNhbXBsZSBub25jZXhY")),
            ("key without padding", k("dGhlIHNhbXBsZSBub25jZQ")),
            ("key with odd padding", k("dGhlIHNhbXBsZSBub25jZQ=A")),
            ("key with loose bits", k("dGhlIHNhbXBsZSBub25jZR==")),
            ("url-safe key", k("dGhlIHNhbXBsZSBub25_-Q==")),
            ("key with space", k("dGhlIHNhbXBs SBub25jZQ==")),
            ("empty key", k("")),
            ("two origins", vec![add("origin", "https://app.example")]),
            ("two authorizations", vec![add("Authorization", "Bearer a"), add("Authorization", "Bearer a")]),
        ],
    );
    assert_eq!(n, 31);
}

#[test]
fn subprotocols_and_credentials_that_leave_a_choice_are_malformed() {
    let t = |t: String| vec![target(t)];
    let auth = || add("Authorization", format!("Bearer {JWT}"));
    let n = refused(
        400,
        Code::Malformed,
        vec![
            ("unknown only", vec![offers("soap")]),
            ("upper case", vec![offers("Portcullis.v1.json")]),
            ("next version", vec![offers("portcullis.v2.json")]),
            ("bearer only", vec![offers(&format!("bearer.{JWT}"))]),
            ("resume only", vec![offers("resume.abc")]),
            ("empty", vec![offers("")]),
            ("empty entry", vec![offers("portcullis.v1.json,,x")]),
            ("not a token", vec![offers("portcullis.v1.json, a/b")]),
            ("twice", vec![offers("portcullis.v1.json, portcullis.v1.json")]),
            ("twice in two fields", vec![offers("portcullis.v1.json"), offers("portcullis.v1.json")]),
            ("two bearers", vec![offers("portcullis.v1.json, bearer.a, bearer.b")]),
            ("empty bearer", vec![offers("portcullis.v1.json, bearer.")]),
            ("two resumes", vec![offers("portcullis.v1.json, resume.a, resume.b")]),
            ("long resume", vec![offers(&format!("portcullis.v1.json, resume.{}", "a".repeat(513)))]),
            ("many", vec![offers("portcullis.v1.json"), offers(&numbered(16))]),
            ("header and subprotocol", vec![auth(), offers("portcullis.v1.json, bearer.a")]),
            ("header and ticket", vec![auth(), target("/ws?ticket=a")]),
            ("subprotocol and ticket", vec![offers("portcullis.v1.json, bearer.a"), target("/ws?ticket=a")]),
            ("two tickets", t("/ws?ticket=a&ticket=a".into())),
            ("no ticket", t("/ws?ticket=".into())),
            ("token", t(format!("/ws?token={JWT}"))),
            ("access_token", t("/ws?access_token=x".into())),
            ("jwt under another name", t(format!("/ws?v={JWT}"))),
            ("jwt as ticket", t(format!("/ws?ticket={JWT}"))),
            ("jwt as name", t(format!("/ws?{JWT}"))),
            ("bad escape", t("/ws?a=%g1".into())),
            ("two token cookies", vec![add("Cookie", format!("sid={JWT}; sid={JWT}"))]),
            ("in two fields", vec![add("Cookie", format!("sid={JWT}")), add("Cookie", format!("sid={JWT}"))]),
        ],
    );
    assert_eq!(n, 28);
}

#[test]
fn origins_and_schemes_that_are_wrong_have_their_own_code() {
    let a = |v: &str| vec![add("Authorization", v)];
    refused(
        403,
        Code::OriginDenied,
        vec![
            ("none", vec![Del("Origin")]),
            ("null", vec![set("Origin", "null")]),
            ("two in one", vec![set("Origin", "https://app.example https://app.example")]),
            ("foreign", vec![set("Origin", "https://evil.example")]),
        ],
    );
    refused(
        401,
        Code::Unauthenticated,
        vec![
            ("basic", a("Basic YTpi")),
            ("no scheme", a(JWT)),
            ("bearer", a("Bearer")),
            ("bearer and spaces", a("Bearer   ")),
            ("two tokens", a("Bearer a b")),
            ("list", a("Bearer a, Bearer b")),
            ("colon", a("Bearer: a")),
            ("short", a("B")),
            ("empty", a("")),
            ("unicode", a("Bearer ä")),
            ("cookie that is no token", vec![add("Cookie", "sid=a b")]),
            ("empty cookie", vec![add("Cookie", "sid=")]),
        ],
    );
}
