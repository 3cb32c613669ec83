//! Turns at work that comes in crowds: a few a pass, in order of arrival, so that those who are inside are served in
//! between.
//!
//! The reactor hands over everything that happened at once, and a thread's tasks are run in the order in which they
//! were woken. Five hundred connections that all ran out of time at the same tick would hold up everybody behind them
//! for five hundred answers. With a turnstile before the costly part, they hold up others for [`PASS`] answers, or for a small
//! part of the time that others take.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use portcullis_common::clock::Clock;

/// Turns between two looks at the sockets, where these follow each other soon.
const PASS: u64 = 4;
/// Turns for a millisecond between two looks, where that are more: a worker with much to do looks seldom, and who waits for
/// an answer, be it a refusal, holds memory all the time. A plain handshake takes a twentieth of that.
const A_MILLISECOND: u64 = 1;

/// A place in the queue; taken at the first poll. Dropping one wastes its turn and harms nobody.
#[derive(Debug, Default)]
pub struct Ticket(Option<u64>);

/// One worker's turnstile. Bound: as many wait as there are connections, which have a cap.
#[derive(Default)]
pub struct Turns {
    /// The next ticket's number.
    next: Cell<u64>,
    /// Tickets below this one have their turn.
    open_to: Cell<u64>,
    /// Those whose turn has not come, by number and without gaps.
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    keeper: Cell<Option<Waker>>,
}

impl Turns {
    /// Ready when it is this ticket's turn; from then on always.
    pub fn poll(&self, ticket: &mut Ticket, cx: &mut Context<'_>) -> Poll<()> {
        let number = *ticket.0.get_or_insert_with(|| {
            let number = self.next.get();
            self.next.set(number + 1);
            if let Some(keeper) = self.keeper.take() {
                keeper.wake();
            }
            number
        });
        if number < self.open_to.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        let first = waiting.front().map_or(number, |(first, _)| *first);
        let place = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        match waiting.get_mut(place) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => waiting.push_back((number, cx.waker().clone())),
        }
        Poll::Pending
    }

    /// Waits for a turn.
    pub async fn take(&self) {
        let mut ticket = Ticket::default();
        poll_fn(|cx| self.poll(&mut ticket, cx)).await;
    }

    /// Opens the turnstile for the next few; `since` the last few, so many nanoseconds have passed. True: more are waiting,
    /// or the few were just given their turns; call again after the sockets had theirs.
    fn pass(&self, since: u64) -> bool {
        let idle = self.open_to.get() >= self.next.get() + PASS;
        let mut waiting = self.waiting.borrow_mut();
        let from = if waiting.is_empty() { self.next.get() } else { self.open_to.get() };
        let to = from + PASS.max(since / 1_000_000 * A_MILLISECOND);
        self.open_to.set(to);
        while waiting.front().is_some_and(|(number, _)| *number < to) {
            if let Some((_, waker)) = waiting.pop_front() {
                waker.wake();
            }
        }
        !idle
    }

    /// Keeps the turnstile, for as long as the worker lives.
    pub async fn keep(&self, clock: &dyn Clock) {
        let mut last = clock.nanos();
        loop {
            let now = clock.nanos();
            if self.pass(now.saturating_sub(std::mem::replace(&mut last, now))) {
                // comes back behind everything that the reactor has woken meanwhile
                tokio::task::yield_now().await;
            } else {
                let seen = self.next.get();
                poll_fn(|cx| {
                    self.keeper.set(Some(cx.waker().clone()));
                    if self.next.get() == seen { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
                // nobody has waited since
                last = clock.nanos();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    fn ask(turns: &Turns, ticket: &mut Ticket) -> bool {
        turns.poll(ticket, &mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_crowd_goes_through_in_order_and_a_few_at_a_time() {
        let turns = Turns::default();
        turns.pass(0);
        let mut crowd: Vec<Ticket> = (0..11).map(|_| Ticket::default()).collect();
        let mut through = Vec::new();
        for _ in 0..4 {
            through.push(crowd.iter_mut().filter_map(|ticket| ask(&turns, ticket).then_some(())).count());
            turns.pass(0);
        }
        assert_eq!(through, [4, 8, 11, 11]);
        assert!(turns.waiting.borrow().is_empty());
    }

    #[test]
    fn who_waits_long_between_two_looks_waits_for_few_of_them() {
        let turns = Turns::default();
        turns.pass(0);
        let mut crowd: Vec<Ticket> = (0..50).map(|_| Ticket::default()).collect();
        let through =
            |crowd: &mut [Ticket]| crowd.iter_mut().filter_map(|ticket| ask(&turns, ticket).then_some(())).count();
        assert_eq!(through(&mut crowd), 4);
        turns.pass(30_999_999);
        assert_eq!(through(&mut crowd), 34);
        turns.pass(3_000_000);
        assert_eq!(through(&mut crowd), 38, "never fewer than when it looks often");
    }

    #[test]
    fn who_comes_later_does_not_overtake() {
        let turns = Turns::default();
        turns.pass(0);
        let mut crowd: Vec<Ticket> = (0..6).map(|_| Ticket::default()).collect();
        crowd.iter_mut().for_each(|ticket| {
            ask(&turns, ticket);
        });
        turns.pass(0);
        let mut late = Ticket::default();
        // two places are left of the second pass: the two that waited have theirs
        assert!(ask(&turns, &mut late));
        let mut later: Vec<Ticket> = (0..2).map(|_| Ticket::default()).collect();
        assert_eq!(later.iter_mut().map(|ticket| ask(&turns, ticket)).collect::<Vec<_>>(), [true, false]);
        assert!(ask(&turns, crowd.last_mut().unwrap()));
    }

    #[test]
    fn an_empty_turnstile_saves_up_nothing() {
        let turns = Turns::default();
        for _ in 0..100 {
            turns.pass(0);
        }
        assert!(!turns.pass(0), "nothing to do");
        let through = (0..100).filter(|_| ask(&turns, &mut Ticket::default())).count();
        assert_eq!(through, 4);
    }

    #[test]
    fn a_ticket_that_asks_twice_waits_once_and_one_that_is_dropped_holds_up_nobody() {
        let turns = Turns::default();
        turns.pass(0);
        let mut crowd: Vec<Ticket> = (0..9).map(|_| Ticket::default()).collect();
        for _ in 0..3 {
            crowd.iter_mut().for_each(|ticket| {
                ask(&turns, ticket);
            });
        }
        assert_eq!(turns.waiting.borrow().len(), 5);
        crowd.drain(4..8);
        turns.pass(0);
        turns.pass(0);
        assert!(ask(&turns, crowd.last_mut().unwrap()));
    }
}
