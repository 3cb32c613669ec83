//! Candidates over the memory store, in schedules that stop them, lose their calls, and bend their clocks.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use portcullis_common::clock::{Clock, ManualClock, UnixMs};
use portcullis_common::ids::NodeEpoch;
use portcullis_common::store::leader::Candidate;
use portcullis_common::store::memory::MemoryStore;
use portcullis_common::store::{StoreFault, StoreFuture, Stores};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const LEASE: Duration = Duration::from_secs(10);

/// The memory store answers at once.
fn said<T>(mut answer: StoreFuture<'_, T>) -> Result<T, StoreFault> {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the memory store waits"),
    }
}

/// A call on its way.
#[derive(Debug)]
enum Call {
    Sent(Step, Mono),
    Answered(Answer, Mono),
}

#[derive(Debug)]
enum Answer {
    Stood(Stood),
    Proclaimed(Fence, Proclaimed),
    Renewed(Fence, bool),
}

struct Runner {
    who: Candidate,
    election: Election,
    call: Option<Call>,
    /// A write that was decided on, and may come to the store at any later time.
    write: Option<Fence>,
    /// What its clock shows above the store's; a clock that stands still in a suspended machine falls behind.
    ahead: i64,
}

struct World {
    clock: Arc<ManualClock>,
    stores: Stores,
    runners: Vec<Runner>,
    /// The latest term in which anybody has led.
    led: Fence,
    elected: Vec<Fence>,
    /// No clock has stood still so far.
    steady: bool,
}

impl World {
    fn new(candidates: u128) -> Self {
        let clock = Arc::new(ManualClock::at(UnixMs(1_000_000)));
        let stores = MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>, Box::new(StdRng::seed_from_u64(1)));
        let runner = |n: u128| Runner {
            who: Candidate { id: NodeId::parse(&format!("c{n}")).unwrap(), life: NodeEpoch(n + 1) },
            election: Election::new(LEASE),
            call: None,
            write: None,
            ahead: 0,
        };
        let runners = (0..candidates).map(runner).collect();
        Self { clock, stores, runners, led: Fence(0), elected: Vec::new(), steady: true }
    }

    fn now_of(&self, n: usize) -> Mono {
        Mono(self.clock.mono().0.saturating_add_signed(self.runners[n].ahead))
    }

    fn advance(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    /// The next thing that happens to a candidate: it sends a call, the store carries it out, the answer arrives.
    fn act(&mut self, n: usize) {
        let now = self.now_of(n);
        match self.runners[n].call.take() {
            None => {
                let (step, _) = self.runners[n].election.step(now);
                if !matches!(step, Step::Wait(_)) {
                    self.runners[n].call = Some(Call::Sent(step, now));
                }
            }
            Some(Call::Sent(step, sent)) => {
                let answer = self.carry_out(n, step);
                self.runners[n].call = Some(Call::Answered(answer, sent));
            }
            Some(Call::Answered(answer, sent)) => self.arrive(n, answer, sent, now),
        }
    }

    fn carry_out(&mut self, n: usize, step: Step) -> Answer {
        let (who, leadership) = (self.runners[n].who.clone(), &self.stores.leadership);
        match step {
            Step::Stand => {
                let answer = said(leadership.stand(who, LEASE)).unwrap();
                if let Stood::Elected(fence) = answer
                    && self.elected.last() != Some(&fence)
                {
                    self.elected.push(fence);
                }
                Answer::Stood(answer)
            }
            Step::Proclaim(fence) => match said(leadership.proclaim(fence)) {
                Ok(()) => Answer::Proclaimed(fence, Proclaimed::Everywhere),
                Err(_) => Answer::Proclaimed(fence, Proclaimed::Refused),
            },
            Step::Renew(fence) => Answer::Renewed(fence, said(leadership.renew(who, fence, LEASE)).unwrap()),
            Step::Wait(_) => unreachable!("not a call"),
        }
    }

    fn arrive(&mut self, n: usize, answer: Answer, sent: Mono, now: Mono) {
        let Runner { who, election, .. } = &mut self.runners[n];
        match answer {
            Answer::Stood(stood) => election.stood(&who.id, sent, now, Some(stood)),
            Answer::Proclaimed(fence, how) => election.proclaimed(fence, now, how),
            Answer::Renewed(fence, renewed) => election.renewed(fence, sent, now, Some(renewed)),
        };
        if let Role::Leading(fence) = election.role() {
            self.led = self.led.max(fence);
        }
    }

    /// The call, or its answer, is lost.
    fn lose(&mut self, n: usize) {
        let now = self.now_of(n);
        let Runner { who, election, call, .. } = &mut self.runners[n];
        match call.take() {
            None => {}
            Some(Call::Sent(Step::Stand, sent) | Call::Answered(Answer::Stood(_), sent)) => {
                election.stood(&who.id, sent, now, None);
            }
            Some(Call::Sent(Step::Proclaim(fence), _) | Call::Answered(Answer::Proclaimed(fence, _), _)) => {
                election.proclaimed(fence, now, Proclaimed::Unanswered);
            }
            Some(Call::Sent(Step::Renew(fence), sent) | Call::Answered(Answer::Renewed(fence, _), sent)) => {
                election.renewed(fence, sent, now, None);
            }
            Some(Call::Sent(Step::Wait(_), _)) => unreachable!("not a call"),
        }
    }

    /// A write is decided on, or the one that was comes to the store. Whether it was taken.
    fn write(&mut self, n: usize) -> Option<(Fence, bool)> {
        let Some(fence) = self.runners[n].write.take() else {
            self.runners[n].write = self.runners[n].election.fence(self.now_of(n));
            return None;
        };
        let node = NodeId::parse("dead").unwrap();
        let taken = said(self.stores.remains.reap_slots(Some(fence), node, NodeEpoch(9), 1)).is_ok();
        if !taken {
            self.runners[n].election.refused(fence);
        }
        Some((fence, taken))
    }

    fn leaders(&self) -> usize {
        (0..self.runners.len()).filter(|n| self.runners[*n].election.fence(self.now_of(*n)).is_some()).count()
    }
}

#[derive(Debug, Clone)]
enum Event {
    Act(usize),
    Lose(usize),
    Write(usize),
    Pass(u64),
    /// The store answers nobody for so long.
    Pause(u64),
    /// The candidate's clock jumps ahead.
    Ahead(usize, i64),
    /// The candidate's machine is suspended, and its clock with it.
    Suspend(usize, u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0usize..3).prop_map(Event::Act),
        2 => (0usize..3).prop_map(Event::Lose),
        6 => (0usize..3).prop_map(Event::Write),
        6 => (0u64..1_500).prop_map(Event::Pass),
        1 => (0u64..15_000).prop_map(Event::Pause),
        1 => ((0usize..3), (0i64..20_000)).prop_map(|(n, ms)| Event::Ahead(n, ms)),
        1 => ((0usize..3), (0u64..20_000)).prop_map(|(n, ms)| Event::Suspend(n, ms)),
    ]
}

fn happen(world: &mut World, event: &Event) -> Result<(), TestCaseError> {
    match *event {
        Event::Act(n) => world.act(n),
        Event::Lose(n) => world.lose(n),
        Event::Pass(ms) => world.advance(ms),
        Event::Pause(ms) => {
            world.advance(ms);
            (0..3).for_each(|n| world.lose(n));
        }
        Event::Ahead(n, ms) => world.runners[n].ahead += ms,
        Event::Suspend(n, ms) => {
            world.advance(ms);
            world.runners[n].ahead -= i64::try_from(ms).unwrap();
            world.steady = false;
        }
        Event::Write(n) => {
            if let Some((fence, taken)) = world.write(n) {
                prop_assert!(!taken || fence >= world.led, "{fence:?} was taken after {:?} led", world.led);
            }
        }
    }
    prop_assert!(world.elected.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", world.elected);
    prop_assert!(!world.steady || world.leaders() <= 1, "{} lead", world.leaders());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever is lost, stopped, suspended or early: terms grow, a write of an earlier term is never taken after a
    /// later one has led, and while no clock stands still at most one candidate believes that it leads.
    #[test]
    fn no_schedule_lets_an_old_leader_write(events in proptest::collection::vec(event(), 1..250)) {
        let mut world = World::new(3);
        for event in &events {
            happen(&mut world, event)?;
        }
    }

    /// After any schedule one leads, once everything works again.
    #[test]
    fn in_quiet_times_one_leads_within_a_term(events in proptest::collection::vec(event(), 0..80)) {
        let mut world = World::new(3);
        for event in &events {
            happen(&mut world, event)?;
        }
        (0..3).for_each(|n| world.lose(n));
        let quiet = world.clock.mono();
        // a clock that fell behind may wait for longer than a term that nobody else wants
        let patience = if world.steady { LEASE + Duration::from_secs(2) } else { Duration::from_secs(40) };
        while world.clock.mono().since(quiet) < patience {
            world.advance(100);
            for _ in 0..3 {
                (0..3).for_each(|n| world.act(n));
            }
        }
        prop_assert_eq!(world.leaders(), 1);
    }
}

/// Runs three candidates without disturbance for so long.
fn run(world: &mut World, ms: u64, who: &[usize]) {
    for _ in 0..ms / 20 {
        world.advance(20);
        for _ in 0..3 {
            who.iter().for_each(|n| world.act(*n));
        }
    }
}

#[test]
fn one_leads_and_keeps_leading() {
    let mut world = World::new(3);
    run(&mut world, 500, &[0, 1, 2]);
    let role = world.runners[0].election.role();
    assert!(matches!(role, Role::Leading(_)), "{role:?}");
    run(&mut world, 60_000, &[0, 1, 2]);
    assert_eq!(world.runners[0].election.role(), role);
    assert_eq!((world.leaders(), world.elected.len()), (1, 1));
}

#[test]
fn when_the_leader_dies_another_leads_within_its_lease() {
    let mut world = World::new(2);
    run(&mut world, 500, &[0, 1]);
    assert!(matches!(world.runners[0].election.role(), Role::Leading(_)));
    // the last renewal may be as young as it likes
    run(&mut world, 10_100, &[1]);
    assert!(matches!(world.runners[1].election.role(), Role::Leading(_)));
}

#[test]
fn a_leader_that_was_stopped_past_its_lease_finds_its_writes_refused_and_follows() {
    let mut world = World::new(2);
    run(&mut world, 500, &[0, 1]);
    assert_eq!(world.write(0), None);
    let old = world.runners[0].write.expect("decided on while it led");
    run(&mut world, 11_000, &[1]);
    let Role::Leading(new) = world.runners[1].election.role() else { panic!("nobody leads") };
    assert_eq!(world.write(0), Some((old, false)));
    assert!(new > old);
    run(&mut world, 2_000, &[0, 1]);
    assert_eq!(world.runners[0].election.role(), Role::Standby);
    assert_eq!(world.runners[0].election.latest(), Some(&(world.runners[1].who.id.clone(), new)));
}

#[test]
fn a_leader_that_resigns_is_followed_without_waiting_for_its_lease() {
    let mut world = World::new(2);
    run(&mut world, 500, &[0, 1]);
    let fence = world.runners[0].election.resign().expect("it leads");
    assert_eq!(world.runners[0].election.resign(), None);
    assert!(said(world.stores.leadership.resign(world.runners[0].who.clone(), fence)).unwrap());
    run(&mut world, 1_100, &[1]);
    assert!(matches!(world.runners[1].election.role(), Role::Leading(_)));
}

#[test]
fn a_term_is_believed_in_from_when_its_renewal_was_sent() {
    let mut election = Election::new(LEASE);
    let me = NodeId::parse("c0").unwrap();
    assert_eq!(election.step(Mono(0)), (Step::Stand, None));
    election.stood(&me, Mono(0), Mono(9_000), Some(Stood::Elected(Fence(7))));
    assert_eq!(election.fence(Mono(9_000)), None, "not before every partition knows");
    let change = election.proclaimed(Fence(7), Mono(9_500), Proclaimed::Everywhere);
    assert_eq!(change, Some(Change::Leads(Fence(7))));
    assert_eq!(election.fence(Mono(9_999)), Some(Fence(7)));
    assert_eq!(election.fence(Mono(10_000)), None);
    assert_eq!(election.step(Mono(10_000)).1, Some(Change::Lost(Fence(7), Loss::Expired)));
}
