//! Key sets that are fetched: rotation, floods, outages. Time is the manual clock's; the network is a script.

use std::sync::Mutex;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, join_all, pending};

use super::super::fetch::{Fetch, FetchFailed, Fetched};
use super::super::jwks::Remote;
use super::super::{Source, jwks::HARD_LIMIT};
use super::*;

/// What the server does next, until told otherwise.
enum Answer {
    Keys(Vec<Value>),
    Text(&'static str),
    Down,
    Hang,
}

struct Script {
    answer: Mutex<Answer>,
    fetches: AtomicUsize,
}

impl Fetch for Script {
    fn fetch<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Fetched, FetchFailed>> {
        assert_eq!(url, "https://id.example/jwks");
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let body = match &*self.answer.lock().unwrap() {
            Answer::Keys(keys) => json!({"keys": keys}).to_string(),
            Answer::Text(text) => (*text).to_owned(),
            Answer::Down => return Box::pin(async { Err(FetchFailed("down")) }),
            Answer::Hang => return Box::pin(pending()),
        };
        Box::pin(async { Ok(Fetched { body: body.into_bytes(), max_age: None }) })
    }
}

struct World {
    clock: Arc<ManualClock>,
    script: Arc<Script>,
    verifier: Arc<Verifier>,
}

impl World {
    fn new(answer: Answer) -> Self {
        let clock = clock();
        let script = Arc::new(Script { answer: Mutex::new(answer), fetches: AtomicUsize::new(0) });
        let issuer = issuer("url", &[Algorithm::ES256], KeySource::JwksUrl("https://id.example/jwks".to_owned()));
        let verifier =
            Verifier::with_fetch(&auth(vec![issuer]), Arc::clone(&clock) as _, Arc::clone(&script) as _).unwrap();
        Self { clock, script, verifier }
    }

    /// With the key `one` fetched.
    async fn with_key_one() -> Self {
        let world = Self::new(Answer::Keys(vec![jwk(p256(), "one")]));
        world.remote().fetch_if_due().await;
        assert_eq!(world.fetches(), 1);
        world
    }

    fn remote(&self) -> &Arc<Remote> {
        match &self.verifier.issuers[0].source {
            Source::Remote(remote) => remote,
            Source::Fixed(_) => panic!("a fixed key"),
        }
    }

    /// A little patience, so that what never comes is not waited for long.
    fn impatient(&mut self) {
        let verifier = Arc::get_mut(&mut self.verifier).unwrap();
        let Source::Remote(remote) = &mut verifier.issuers[0].source else { panic!("a fixed key") };
        let patience = &mut Arc::get_mut(remote).unwrap().patience;
        patience.token = Duration::from_millis(1);
        patience.fetch = Duration::from_millis(1);
    }

    fn answer(&self, answer: Answer) {
        *self.script.answer.lock().unwrap() = answer;
    }

    fn fetches(&self) -> usize {
        self.script.fetches.load(Ordering::SeqCst)
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A token issued now.
    fn token(&self, kid: &str, key: &Pair) -> String {
        use portcullis_common::clock::Clock;
        let now = self.clock.wall().0 / 1000;
        let claims = claims_of("https://url.example", &json!({"iat": now, "exp": now + 300}));
        sign(&json!({"alg": "ES256", "kid": kid}).to_string(), &claims, &key.signing, Jwa::ES256)
    }

    fn verify_now(&self, kid: &str, key: &Pair) -> Result<Identity, AuthError> {
        verify(&self.verifier, &self.token(kid, key))
    }

    /// Verifies while the fetcher does what it is woken for.
    async fn verify(&self, kid: &str, key: &Pair) -> Result<Identity, AuthError> {
        let token = self.token(kid, key);
        tokio::join!(self.verifier.verify(&token), self.remote().fetch_if_due()).0
    }
}

const UNKNOWN: AuthError = AuthError::Bad(BadToken("the key is not one of the issuer's"));
const TOO_OLD: AuthError = AuthError::Unavailable("the issuer's keys are older than a day");

#[tokio::test]
async fn before_the_first_fetch_nobody_can_be_verified() {
    let world = World::new(Answer::Down);
    let never = Some(AuthError::Unavailable("the issuer's keys have not been fetched yet"));
    assert_eq!(world.verify_now("one", p256()).err(), never);
    world.remote().fetch_if_due().await;
    assert_eq!(world.verify_now("one", p256()).err(), never);
    assert!(!world.verifier.ready());
    world.answer(Answer::Keys(vec![jwk(p256(), "one")]));
    world.remote().fetch_if_due().await;
    assert_eq!(world.fetches(), 1, "the second try is due a second later");
    world.advance(1);
    world.remote().fetch_if_due().await;
    assert!(world.verify_now("one", p256()).is_ok());
    assert!(world.verifier.ready());
}

#[tokio::test]
async fn a_started_verifier_fetches_at_once_and_when_a_new_key_appears() {
    let world = World::new(Answer::Keys(vec![jwk(p256(), "one")]));
    world.verifier.start();
    world.verifier.start();
    while !world.verifier.ready() {
        tokio::task::yield_now().await;
    }
    assert!(world.verify_now("one", p256()).is_ok());
    assert_eq!(world.fetches(), 1);
    world.answer(Answer::Keys(vec![jwk(other_p256(), "two")]));
    assert!(world.verifier.verify(&world.token("two", other_p256())).await.is_ok());
    assert_eq!(world.fetches(), 2);
    assert_eq!(world.verify_now("one", p256()).err(), Some(UNKNOWN), "and the old key is gone");
}

#[tokio::test]
async fn the_tasks_end_with_the_verifier() {
    let world = World::new(Answer::Hang);
    world.verifier.start();
    tokio::task::yield_now().await;
    assert_eq!(world.fetches(), 1);
    let remote: Weak<Remote> = Arc::downgrade(world.remote());
    drop(world.verifier);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(remote.upgrade().is_none());
}

#[tokio::test]
async fn keys_are_refreshed_every_ten_minutes() {
    let world = World::with_key_one().await;
    world.advance(599);
    world.remote().fetch_if_due().await;
    assert_eq!(world.fetches(), 1);
    world.advance(1);
    world.remote().fetch_if_due().await;
    assert_eq!(world.fetches(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_makes_one_fetch() {
    let world = World::with_key_one().await;
    let tokens: Vec<String> = (0..100).map(|i| world.token(&format!("flood-{i}"), other_p256())).collect();
    let flood = join_all(tokens.iter().map(|token| world.verifier.verify(token)));
    let (answers, ()) = tokio::join!(flood, world.remote().fetch_if_due());
    assert!(answers.into_iter().all(|answer| answer.err() == Some(UNKNOWN)));
    assert_eq!(world.fetches(), 2);
    for i in 100..200 {
        assert_eq!(world.verify_now(&format!("flood-{i}"), other_p256()).err(), Some(UNKNOWN), "at once");
    }
    world.remote().fetch_if_due().await;
    assert_eq!(world.fetches(), 2);
    assert!(world.verify_now("one", p256()).is_ok(), "those who are known notice nothing");
    world.advance(30);
    assert_eq!(world.verify("another", other_p256()).await.err(), Some(UNKNOWN));
    assert_eq!(world.fetches(), 3, "one more after thirty seconds");
}

#[tokio::test]
async fn a_key_that_a_fetch_did_not_bring_is_not_asked_for_again_soon() {
    let world = World::with_key_one().await;
    assert_eq!(world.verify("retired", other_p256()).await.err(), Some(UNKNOWN));
    world.advance(60);
    assert_eq!(world.verify_now("retired", other_p256()).err(), Some(UNKNOWN), "at once");
    assert_eq!(world.fetches(), 2);
    world.advance(60);
    world.answer(Answer::Keys(vec![jwk(other_p256(), "retired")]));
    assert!(world.verify("retired", other_p256()).await.is_ok(), "it may come back");
}

#[tokio::test]
async fn a_token_without_a_key_id_causes_no_fetch() {
    let world = World::with_key_one().await;
    let claims = claims_of("https://url.example", &json!({}));
    let token = sign(r#"{"alg":"ES256"}"#, &claims, &other_p256().signing, Jwa::ES256);
    assert_eq!(verify(&world.verifier, &token).err(), Some(bad("the signature is not the issuer's")));
    world.remote().fetch_if_due().await;
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn when_the_server_is_down_keys_are_used_until_the_hard_limit_and_no_longer() {
    let world = World::with_key_one().await;
    world.answer(Answer::Down);
    world.advance(HARD_LIMIT.as_secs());
    world.remote().fetch_if_due().await;
    assert!(world.verify_now("one", p256()).is_ok(), "stale, but within the limit");
    assert_eq!(world.verify_now("one", other_p256()).err(), Some(bad("the signature is not the issuer's")));
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.verify_now("one", p256()).err(), Some(TOO_OLD));
    assert!(!world.verifier.ready());
    world.answer(Answer::Keys(vec![jwk(p256(), "one")]));
    world.advance(1);
    world.remote().fetch_if_due().await;
    assert!(world.verify_now("one", p256()).is_ok(), "and it recovers");
}

#[tokio::test]
async fn a_set_that_cannot_be_read_leaves_the_old_one() {
    let world = World::with_key_one().await;
    for text in ["<html>gateway error</html>", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        world.answer(Answer::Text(text));
        world.advance(600);
        let before = world.fetches();
        world.remote().fetch_if_due().await;
        assert_eq!(world.fetches(), before + 1);
        assert!(world.verify_now("one", p256()).is_ok(), "{text}");
    }
}

#[tokio::test]
async fn a_slow_server_holds_up_only_tokens_with_new_keys_and_those_not_for_long() {
    let mut world = World::with_key_one().await;
    world.impatient();
    world.answer(Answer::Hang);
    let token = world.token("new", other_p256());
    // the token gives up first: nobody is fetching
    assert_eq!(world.verifier.verify(&token).await.err(), Some(UNKNOWN));
    assert!(world.verify_now("one", p256()).is_ok());
    // now somebody is, and gives up as well
    world.remote().fetch_if_due().await;
    assert_eq!(world.fetches(), 2);
    world.answer(Answer::Keys(vec![jwk(other_p256(), "new")]));
    world.advance(1);
    world.remote().fetch_if_due().await;
    assert!(world.verify_now("new", other_p256()).is_ok(), "the retry brought it");
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_the_fetch_for_the_others() {
    let world = World::with_key_one().await;
    world.answer(Answer::Keys(vec![jwk(other_p256(), "two")]));
    let token = world.token("two", other_p256());
    assert!(world.verifier.verify(&token).now_or_never().is_none(), "waits, and is dropped");
    assert!(world.verify("two", other_p256()).await.is_ok());
    assert_eq!(world.fetches(), 2);
}
