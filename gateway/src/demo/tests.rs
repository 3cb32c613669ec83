use std::sync::Mutex;

use actix_web::body::to_bytes;
use actix_web::dev::ServiceResponse;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, web};
use serde_json::{Value, json};

use super::*;

#[derive(Default)]
struct Fake {
    minted: Mutex<Vec<(String, bool)>>,
    kicked: Mutex<Vec<SessionId>>,
    sessions: usize,
}

impl DemoBackend for Fake {
    fn mint(&self, name: &str, admin: bool) -> Result<MintedToken, Reject> {
        self.minted.lock().unwrap().push((name.to_owned(), admin));
        Ok(MintedToken { token: "t.t.t".into(), expires_at: UnixMs(9), user: UserId::parse("ada").unwrap() })
    }

    fn sessions(&self) -> DemoFuture<'_, Vec<DemoSession>> {
        let user = UserId::parse("ada").unwrap();
        let one = |n| DemoSession { session_id: SessionId(n as u128), user: user.clone(), since: UnixMs(1) };
        let list = (0..self.sessions).map(one).collect();
        Box::pin(async move { list })
    }

    fn kick(&self, sid: SessionId) -> DemoFuture<'_, bool> {
        self.kicked.lock().unwrap().push(sid);
        Box::pin(async move { sid == SessionId(1) })
    }

    fn now(&self) -> UnixMs {
        UnixMs(1234)
    }

    fn request_id(&self) -> RequestId {
        RequestId(7)
    }
}

fn own(path: &str) -> TestRequest {
    TestRequest::post()
        .uri(path)
        .insert_header(("host", "127.0.0.1:8080"))
        .insert_header(("origin", "http://127.0.0.1:8080"))
        .insert_header(("sec-fetch-site", "same-origin"))
        .insert_header(("content-type", "application/json"))
}

fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path).insert_header(("host", "localhost:8080"))
}

async fn call(backend: &Arc<Fake>, req: TestRequest) -> ServiceResponse {
    let backend: Arc<dyn DemoBackend> = backend.clone();
    let app = init_service(App::new().configure(|cfg: &mut web::ServiceConfig| routes(cfg, backend))).await;
    call_service(&app, req.to_request()).await
}

async fn body(res: ServiceResponse) -> Value {
    serde_json::from_slice(&to_bytes(res.into_body()).await.unwrap()).unwrap()
}

async fn refusal(backend: &Arc<Fake>, req: TestRequest) -> (u16, String) {
    let res = call(backend, req).await;
    let status = res.status().as_u16();
    (status, body(res).await["payload"]["code"].as_str().unwrap().to_owned())
}

fn token_body() -> Value {
    json!({ "name": "Ada", "role": "member" })
}

#[actix_web::test]
async fn the_page_and_all_it_loads_are_served_with_the_strict_policy() {
    let backend = Arc::new(Fake::default());
    let paths = std::iter::once("/".to_owned()).chain(assets::ALL.iter().map(|a| format!("/demo/{}", a.name)));
    for path in paths {
        let res = call(&backend, get(&path)).await;
        assert_eq!(res.status(), 200, "{path}");
        assert_eq!(res.headers().get("content-security-policy").unwrap(), CSP, "{path}");
        assert_eq!(res.headers().get("x-content-type-options").unwrap(), "nosniff");
        assert_eq!(res.headers().get("referrer-policy").unwrap(), "no-referrer");
        assert_eq!(res.headers().get("cross-origin-opener-policy").unwrap(), "same-origin");
        assert!(res.headers().get("server").is_none());
    }
}

#[test]
fn the_page_has_nothing_inline_and_nothing_from_outside() {
    for asset in assets::ALL.iter().chain([&assets::PAGE]) {
        let text = asset.text.replace("http://www.w3.org/2000/svg", "");
        for bad in ["http://", "https://", "//cdn", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"] {
            assert!(!text.contains(bad), "{} has {bad}", asset.name);
        }
        assert!(!text.contains("eval("), "{}", asset.name);
    }
    let page = assets::PAGE.text;
    assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick="));
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/demo/").count());
    for reference in page.split("\"/demo/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(assets::find(reference).is_some(), "{reference} is not served");
    }
}

#[test]
fn every_module_that_a_script_imports_is_served() {
    for asset in assets::ALL.iter().filter(|a| a.name.ends_with(".js")) {
        for name in asset.text.split(" from './").skip(1).filter_map(|rest| rest.split('\'').next()) {
            assert!(assets::find(name).is_some(), "{} imports {name}", asset.name);
        }
    }
}

#[actix_web::test]
async fn the_own_page_gets_a_token_that_no_cache_keeps() {
    let backend = Arc::new(Fake::default());
    let res = call(&backend, own("/demo/token").set_payload(r#"{"name":" Ada L. ","role":"admin"}"#)).await;
    assert_eq!(res.status(), 200);
    assert_eq!(res.headers().get("cache-control").unwrap(), "no-store");
    assert_eq!(body(res).await, json!({ "token": "t.t.t", "expiresAt": 9, "user": "ada" }));
    assert_eq!(*backend.minted.lock().unwrap(), [("Ada L.".to_owned(), true)]);
}

#[actix_web::test]
async fn another_site_a_rebound_name_or_no_origin_gets_nothing() {
    let backend = Arc::new(Fake::default());
    let ask = |name: &'static str, value: &'static str| {
        own("/demo/token").insert_header((name, value)).set_payload(token_body().to_string())
    };
    let denied = (403, "origin_denied".to_owned());
    assert_eq!(refusal(&backend, ask("origin", "https://evil.example")).await, denied);
    assert_eq!(refusal(&backend, ask("origin", "null")).await, denied);
    assert_eq!(refusal(&backend, ask("origin", "http://127.0.0.1:8081")).await, denied);
    assert_eq!(refusal(&backend, ask("sec-fetch-site", "cross-site")).await, denied);
    assert_eq!(refusal(&backend, ask("sec-fetch-site", "same-site")).await, denied);
    let rebound = own("/demo/token")
        .insert_header(("host", "evil.example:8080"))
        .insert_header(("origin", "http://evil.example:8080"))
        .set_payload(token_body().to_string());
    assert_eq!(refusal(&backend, rebound).await, denied);
    let no_origin = TestRequest::post()
        .uri("/demo/token")
        .insert_header(("host", "127.0.0.1:8080"))
        .insert_header(("content-type", "application/json"))
        .set_payload(token_body().to_string());
    assert_eq!(refusal(&backend, no_origin).await, denied);
    assert!(backend.minted.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn a_body_that_is_not_a_small_json_object_of_the_known_fields_is_refused() {
    let backend = Arc::new(Fake::default());
    let ask = |body: String| own("/demo/token").set_payload(body);
    let long = json!({ "name": "a".repeat(2000), "role": "member" }).to_string();
    assert_eq!(refusal(&backend, ask(long)).await, (413, "too_large".into()));
    assert_eq!(refusal(&backend, ask("{".into())).await, (400, "malformed".into()));
    for bad in [
        json!({ "name": "Ada" }),
        json!({ "name": "Ada", "role": "root" }),
        json!({ "name": "Ada", "role": "member", "sub": "grace" }),
        json!({ "name": 1, "role": "member" }),
        json!({ "name": "", "role": "member" }),
        json!({ "name": "!?", "role": "member" }),
        json!({ "name": "a\nb", "role": "member" }),
        json!({ "name": "a\u{202e}b", "role": "member" }),
        json!({ "name": "a".repeat(33), "role": "member" }),
    ] {
        assert_eq!(refusal(&backend, ask(bad.to_string())).await, (400, "schema_invalid".into()), "{bad}");
    }
    let form = own("/demo/token").insert_header(("content-type", "text/plain")).set_payload(token_body().to_string());
    assert_eq!(refusal(&backend, form).await, (415, "malformed".into()));
    assert!(backend.minted.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn the_list_is_bounded_and_only_for_the_own_page() {
    let backend = Arc::new(Fake { sessions: LIST_MAX + 5, ..Fake::default() });
    let list = body(call(&backend, get("/demo/sessions")).await).await;
    assert_eq!(list.as_array().unwrap().len(), LIST_MAX);
    assert_eq!(list[1], json!({ "sessionId": SessionId(1).to_string(), "user": "ada", "since": 1 }));
    let other = get("/demo/sessions").insert_header(("sec-fetch-site", "cross-site"));
    assert_eq!(refusal(&backend, other).await, (403, "origin_denied".into()));
    let rebound = TestRequest::get().uri("/demo/sessions").insert_header(("host", "evil.example"));
    assert_eq!(refusal(&backend, rebound).await, (403, "origin_denied".into()));
}

#[actix_web::test]
async fn a_kick_names_its_session_and_says_whether_there_was_one() {
    let backend = Arc::new(Fake::default());
    let ask = |sid: String| own("/demo/kick").set_payload(json!({ "sessionId": sid }).to_string());
    assert_eq!(body(call(&backend, ask(SessionId(1).to_string())).await).await, json!({ "kicked": true }));
    assert_eq!(body(call(&backend, ask(SessionId(2).to_string())).await).await, json!({ "kicked": false }));
    assert_eq!(refusal(&backend, ask("nonsense".into())).await, (400, "schema_invalid".into()));
    assert_eq!(*backend.kicked.lock().unwrap(), [SessionId(1), SessionId(2)]);
}

#[actix_web::test]
async fn refusals_have_the_form_of_the_contract() {
    let backend = Arc::new(Fake::default());
    let res = call(&backend, get("/demo/token")).await;
    assert_eq!(res.status(), 405);
    assert_eq!(res.headers().get("content-security-policy").unwrap(), CSP);
    let message = Code::Malformed.info().message;
    let payload = json!({ "code": "malformed", "message": message, "requestId": RequestId(7).to_string() });
    assert_eq!(body(res).await, json!({ "type": "error", "payload": payload, "timestamp": 1234 }));
    assert_eq!(refusal(&backend, get("/demo/nothing.js")).await.0, 404);
}
