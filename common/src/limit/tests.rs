use std::time::Duration;

use super::*;
use crate::config::model::{Limit, Rate};
use crate::gcra::Gcra;
use crate::store::limit::Leased;

const MS: u64 = SECOND / 1_000;

fn plan(count: u32, burst: u32, nodes: u32) -> Plan {
    Plan::new(Gcra::new(Limit { rate: Rate { count, period: Duration::from_secs(1) }, burst }), nodes)
}

/// A node that has counted for long, with a store that grants everything.
struct Node {
    table: Table<&'static str>,
    plan: Plan,
    now: u64,
    calls: u32,
}

impl Node {
    fn new(plan: Plan) -> Self {
        Self { table: Table::new(4, 0), plan, now: 100 * SECOND, calls: 0 }
    }

    fn standing(&self, up: bool) -> Standing {
        Standing { up, patient: true, now: self.now }
    }

    fn take(&mut self, key: &'static str) -> Took {
        self.table.take(&key, &self.plan, self.standing(true))
    }

    /// Takes one, and has the store grant what that asks for.
    fn take_and_grant(&mut self, key: &'static str) -> Answer {
        let took = self.take(key);
        if let Some(order) = took.order {
            self.calls += 1;
            self.table.answered(
                &key,
                &self.plan,
                order,
                Leased { granted: order.want, wait: Duration::ZERO },
                self.now,
            );
        }
        took.answer
    }
}

#[test]
fn a_quiet_user_never_waits_and_costs_at_most_a_call_a_message() {
    let mut node = Node::new(plan(100, 200, 3));
    for _ in 0..100 {
        assert_eq!(node.take_and_grant("ada"), Answer::Yes);
        node.now += 5 * SECOND;
    }
    assert_eq!(node.calls, 100, "and no token was leased that nobody used");
}

#[test]
fn a_busy_user_costs_a_call_for_many_messages_and_waits_only_in_the_beginning() {
    let mut node = Node::new(plan(100, 200, 3));
    let answers: Vec<Answer> = (0..1_000)
        .map(|_| {
            node.now += 20 * MS;
            node.take_and_grant("ada")
        })
        .collect();
    assert!(answers.iter().skip(10).all(|answer| *answer == Answer::Yes));
    assert!(node.calls < 50, "{}", node.calls);
}

#[test]
fn what_was_let_in_on_credit_and_went_no_further_is_there_for_the_next_message() {
    let mut node = Node::new(plan(100, 200, 3));
    let took = node.take("ada");
    assert_eq!((took.answer, took.order.map(|order| order.paid)), (Answer::Yes, Some(1)));
    node.table.give_back(&"ada", &node.plan, node.standing(true));
    assert_eq!(node.take("ada"), Answer::Yes.into());
    assert_eq!(node.take("ada").answer, Answer::Ask, "one token and no more");
}

#[test]
fn a_refusal_is_remembered_until_its_time_and_no_longer() {
    let mut node = Node::new(plan(1, 1, 1));
    let order = node.take("ada").order.expect("a call");
    let refused = Leased { granted: 0, wait: Duration::from_millis(700) };
    node.now += 400 * MS;
    node.table.answered(&"ada", &node.plan, order, refused, node.now);
    for _ in 0..10 {
        assert_eq!(node.take("ada"), Answer::Wait(Duration::from_millis(700)).into());
    }
    node.now += 700 * MS;
    assert_eq!(node.take("ada").answer, Answer::Ask);
}

#[test]
fn a_message_that_may_not_wait_any_more_is_decided_by_the_share() {
    let mut node = Node::new(plan(10, 3, 3));
    assert_eq!(node.take("ada").answer, Answer::Ask);
    let impatient = Standing { patient: false, ..node.standing(true) };
    let took = node.table.take(&"ada", &node.plan, impatient);
    assert_eq!((took.answer, took.alone), (Answer::Yes, true));
    let took = node.table.take(&"ada", &node.plan, impatient);
    assert_eq!((took.answer, took.alone), (Answer::Wait(Duration::from_millis(300)), true), "a third of the rate");
}

#[test]
fn what_the_share_let_in_is_taken_out_of_a_late_answer() {
    let mut node = Node::new(plan(100, 300, 3));
    node.plan.advance = false;
    let order = node.take("ada").order.expect("a call");
    node.now += PATIENCE;
    for _ in 0..2 {
        assert_eq!(node.take("ada").answer, Answer::Yes);
    }
    node.table.answered(
        &"ada",
        &node.plan,
        Order { want: 3, ..order },
        Leased { granted: 3, ..Leased::default() },
        node.now,
    );
    let took = node.take("ada");
    assert_eq!((took.answer, took.alone), (Answer::Yes, false), "three were granted and two used");
    assert_eq!(node.take("ada").answer, Answer::Ask);
}

#[test]
fn a_store_that_is_known_to_be_away_is_not_waited_for_and_asked_again_twice_a_second() {
    let mut node = Node::new(plan(10, 30, 3));
    let took = node.table.take(&"ada", &node.plan, node.standing(false));
    assert_eq!((took.answer, took.alone, took.order), (Answer::Yes, true, None));
    node.plan.advance = false;
    node.take("ada").order.expect("a call");
    node.table.failed(&"ada", node.now);
    let mut calls = 0;
    for _ in 0..100 {
        node.now += 30 * MS;
        let took = node.take("ada");
        assert_ne!(took.answer, Answer::Ask);
        if took.order.is_some() {
            calls += 1;
            node.table.failed(&"ada", node.now);
        }
    }
    assert_eq!(calls, 5, "in three seconds");
    // and it is believed again when it answers
    node.now += AGAIN;
    let order = node.take("ada").order.expect("a call");
    node.table.answered(&"ada", &node.plan, order, Leased { granted: 1, ..Leased::default() }, node.now);
    assert!(!node.take("ada").alone);
}

#[test]
fn names_made_up_by_the_thousand_get_one_share_and_harm_nobody() {
    let mut table = Table::new(2, 0);
    let plan = plan(1, 2, 2);
    let mut take = |name: u32, now| table.take(&name, &plan, Standing { up: true, patient: true, now });
    let now = 100 * SECOND;
    assert_eq!(take(0, now).answer, Answer::Ask);
    assert_eq!(take(1, now).answer, Answer::Ask);
    let passed = (2..1_000).filter(|name| take(*name, now).answer == Answer::Yes).count();
    assert_eq!(passed, 1);
    assert_eq!(take(0, now).answer, Answer::Ask, "who is known already goes on");
    assert_eq!(table.len(), 2);
}

#[test]
fn what_is_idle_gives_way() {
    let mut table = Table::new(1, 0);
    let plan = plan(10, 2, 1);
    for name in 0..100u32 {
        let now = 100 * SECOND + u64::from(name) * 10 * SECOND;
        let took = table.take(&name, &plan, Standing { up: true, patient: true, now });
        let order = took.order.expect("a place of its own");
        table.answered(&name, &plan, order, Leased { granted: order.want, ..Leased::default() }, now);
    }
}
