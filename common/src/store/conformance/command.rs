//! Commands and answers.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Fixture, Step, checks, ms};
use crate::control::sign::{AHEAD, Nonce};
use crate::store::command::{AnswerPlace, CommandSink, Received};

checks![
    a_command_reaches_every_follower_once_and_in_order,
    a_follower_is_told_nothing_from_before,
    the_store_has_one_time_for_senders_and_receivers,
    answers_come_in_order_and_behind_a_place,
    answers_to_different_commands_do_not_mix,
    of_many_who_claim_a_command_one_gets_it,
    ; long:
    answers_are_kept_for_a_minute_after_the_last,
];

#[derive(Default)]
struct Reader(Mutex<Vec<Received>>);

impl CommandSink for Reader {
    fn take(&self, received: Received) {
        self.0.lock().unwrap().push(received);
    }
}

impl Reader {
    fn words(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|r| String::from_utf8_lossy(&r.bytes).into_owned()).collect()
    }
}

impl Fixture {
    async fn listen(&self) -> Arc<Reader> {
        let reader = Arc::new(Reader::default());
        self.stores.desk.follow(Arc::clone(&reader) as Arc<dyn CommandSink>).await.unwrap();
        reader
    }

    async fn dispatch(&self, word: &'static str) {
        self.stores.commands.dispatch(Bytes::from_static(word.as_bytes())).await.unwrap();
    }

    async fn heard(&self, reader: &Reader, words: &[&str]) {
        for _ in 0..500 {
            if reader.words().len() >= words.len() {
                break;
            }
            self.advance(10).await;
        }
        assert_eq!(reader.words(), words);
    }

    async fn reply(&self, to: u8, word: &'static str) {
        self.stores.desk.answer(Nonce([to; 16]), Bytes::from_static(word.as_bytes())).await.unwrap();
    }

    async fn replies(&self, to: u8, after: AnswerPlace) -> (AnswerPlace, Vec<String>) {
        let answers = self.stores.commands.answers(Nonce([to; 16]), after, ms(50)).await.unwrap();
        assert!(answers.is_sorted_by(|(a, _), (b, _)| a < b));
        let words = answers.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
        (answers.last().map_or(after, |(place, _)| *place), words)
    }
}

async fn a_command_reaches_every_follower_once_and_in_order(f: Fixture) {
    let (one, two) = (f.listen().await, f.listen().await);
    for word in ["a", "b", "c"] {
        f.dispatch(word).await;
    }
    f.heard(&one, &["a", "b", "c"]).await;
    f.heard(&two, &["a", "b", "c"]).await;
}

async fn a_follower_is_told_nothing_from_before(f: Fixture) {
    let first = f.listen().await;
    f.dispatch("before").await;
    f.heard(&first, &["before"]).await;
    f.advance(20).await;
    let late = f.listen().await;
    f.dispatch("after").await;
    f.heard(&first, &["before", "after"]).await;
    f.heard(&late, &["after"]).await;
}

async fn the_store_has_one_time_for_senders_and_receivers(f: Fixture) {
    let reader = Arc::new(Reader::default());
    let began = f.stores.desk.follow(Arc::clone(&reader) as Arc<dyn CommandSink>).await.unwrap();
    f.advance(30).await;
    let sent = f.stores.commands.now().await.unwrap();
    f.dispatch("a").await;
    f.heard(&reader, &["a"]).await;
    let done = f.stores.commands.now().await.unwrap();
    let heard = reader.0.lock().unwrap().first().unwrap().at;
    assert!(began < sent, "{began:?} {sent:?}");
    // a node cannot know it exactly, and must not think that it is earlier
    assert!(heard >= sent && heard <= done.after(AHEAD), "{sent:?} {heard:?} {done:?}");
}

async fn answers_come_in_order_and_behind_a_place(f: Fixture) {
    assert_eq!(f.replies(1, AnswerPlace::default()).await.1, [""; 0]);
    f.reply(1, "a").await;
    f.reply(1, "b").await;
    let (place, words) = f.replies(1, AnswerPlace::default()).await;
    assert_eq!(words, ["a", "b"]);
    f.reply(1, "c").await;
    assert_eq!(f.replies(1, place).await.1, ["c"]);
    assert_eq!(f.replies(1, AnswerPlace::default()).await.1, ["a", "b", "c"], "reading takes nothing away");
}

async fn answers_to_different_commands_do_not_mix(f: Fixture) {
    f.reply(1, "one").await;
    f.reply(2, "two").await;
    assert_eq!(f.replies(2, AnswerPlace::default()).await.1, ["two"]);
    assert!(f.stores.desk.claim(Nonce([1; 16])).await.unwrap());
    assert_eq!(f.replies(1, AnswerPlace::default()).await.1, ["one"], "a claim is no answer");
}

async fn of_many_who_claim_a_command_one_gets_it(f: Fixture) {
    for nonce in 0..10 {
        let got = Arc::new(Mutex::new(0));
        let tries = (0..10).map(|_| {
            let (stores, got) = (f.stores.clone(), Arc::clone(&got));
            Box::pin(async move {
                let mine = stores.desk.claim(Nonce([nonce; 16])).await.unwrap();
                *got.lock().unwrap() += u32::from(mine);
            }) as Step<'static, ()>
        });
        f.together(tries.collect::<Vec<_>>()).await;
        assert_eq!(*got.lock().unwrap(), 1);
    }
}

async fn answers_are_kept_for_a_minute_after_the_last(f: Fixture) {
    f.reply(1, "a").await;
    f.advance(50_000).await;
    f.reply(1, "b").await;
    f.advance(59_000).await;
    assert_eq!(f.replies(1, AnswerPlace::default()).await.1, ["a", "b"]);
    f.advance(1_000).await;
    assert_eq!(f.replies(1, AnswerPlace::default()).await.1, [""; 0]);
}
