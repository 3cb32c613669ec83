use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000;
const START: UnixMs = UnixMs(1_800_000_000_000);

fn ladder() -> Ladder {
    Ladder {
        half_life: Duration::from_secs(600),
        restrict: 100.0,
        disconnect: 200.0,
        ban: 400.0,
        first: Duration::from_secs(10),
        longest: Duration::from_secs(3_600),
        memory: Duration::from_secs(7_200),
    }
}

fn later(ms: u64) -> UnixMs {
    UnixMs(START.0 + ms)
}

/// Seconds that it is kept out.
fn out(account: &Account, at: u64) -> u64 {
    account.kept_out(later(at)).map_or(0, |until| (until.0 - later(at).0).div_ceil(SECOND))
}

#[test]
fn a_score_halves_in_its_half_life_and_evidence_adds_to_what_is_left() {
    let (l, mut a) = (ladder(), Account::default());
    assert_eq!(a.charge(&l, 80.0, START), Step::None);
    assert!((a.points_at(&l, later(600 * SECOND)) - 40.0).abs() < 1e-9);
    assert_eq!(a.charge(&l, 50.0, later(600 * SECOND)), Step::None);
    assert!((a.points_at(&l, later(1_200 * SECOND)) - 45.0).abs() < 1e-9);
}

#[test]
fn each_threshold_is_a_step_once_until_it_is_let_in_again() {
    let (l, mut a) = (ladder(), Account::default());
    let steps: Vec<Step> = (0..12).map(|n| a.charge(&l, 50.0, later(n))).collect();
    let taken: Vec<(usize, Step)> = steps.into_iter().enumerate().filter(|(_, step)| *step != Step::None).collect();
    assert_eq!(
        taken,
        [(2, Step::Restrict), (4, Step::Disconnect), (8, Step::Ban)],
        "each a moment after it is worth it"
    );
    assert_eq!((a.step_at(later(12)), a.strikes), (Step::Ban, 3));
}

#[test]
fn strikes_double_the_delay_up_to_the_bound_and_are_forgotten_one_by_one() {
    let l = Ladder { half_life: Duration::from_secs(1), ..ladder() };
    let (mut a, mut at, mut delays) = (Account::default(), 0, Vec::new());
    for _ in 0..12 {
        assert_eq!(a.charge(&l, 150.0, later(at)), Step::Restrict);
        delays.push(out(&a, at));
        at += out(&a, at) * SECOND;
        assert_eq!(a.kept_out(later(at)), None);
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600, 3_600]);
    let free = a.until.0 - START.0;
    let memory = 7_200 * SECOND;
    assert_eq!(a.strikes_at(&l, later(free + memory - 1)), 12);
    assert_eq!(a.strikes_at(&l, later(free + memory)), 11);
    assert_eq!(a.strikes_at(&l, later(free + 11 * memory + memory / 2)), 1);
    assert_eq!(a.charge(&l, 1.0, later(free + memory + memory / 2)), Step::None);
    assert_eq!(a.strikes_at(&l, later(free + 2 * memory - 1)), 11, "a little evidence does not begin the time anew");
    assert_eq!(a.strikes_at(&l, later(free + 2 * memory)), 10);
}

#[test]
fn it_is_let_in_when_it_was_told_and_half_the_way_from_the_next_strike() {
    let (l, mut a) = (ladder(), Account::default());
    a.charge(&l, 101.0, START);
    let until = a.kept_out(START).unwrap();
    assert_eq!(until.0 - START.0, (600_000.0 * (101.0_f64 / 50.0).log2()).ceil() as u64);
    assert_eq!(a.charge(&l, 5.0, later(1)), Step::None, "what it does meanwhile counts");
    assert_eq!(a.kept_out(later(1)), Some(until), "and moves nothing that it was told");
    assert!(a.kept_out(UnixMs(until.0 - 1)).is_some() && a.kept_out(until).is_none());
    assert!((a.points_at(&l, until) - 52.5).abs() < 0.1);
}

#[test]
fn a_score_has_a_ceiling_and_whoever_is_banned_for_long_comes_back() {
    let (l, mut a) = (ladder(), Account::default());
    for n in 0..10_000 {
        a.charge(&l, 1_000.0, later(n));
    }
    assert!((a.points - 800.0).abs() < 1.0);
    assert!(a.points_at(&l, later(3 * 3_600 * SECOND)) < 1.0);
}

#[test]
fn a_clock_that_is_set_back_gives_no_points_and_takes_none() {
    let (l, mut a) = (ladder(), Account::default());
    a.charge(&l, 60.0, later(1_000));
    assert!((a.points_at(&l, START) - 60.0).abs() < 1e-9);
    assert_eq!(a.charge(&l, 10.0, START), Step::None);
    assert!((a.points_at(&l, later(1_000)) - 70.0).abs() < 1e-9);
}

#[test]
fn networks_are_addresses_and_the_first_half_of_ipv6() {
    let of = |ip: &str| Subject::network(ip.parse().unwrap()).target();
    let net = |text: &str| Target::Network(text.parse().unwrap());
    assert_eq!(of("192.0.2.7"), net("192.0.2.7/32"));
    assert_eq!(of("::ffff:192.0.2.7"), net("192.0.2.7/32"));
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), net("2001:db8:1:2::/64"));
}

proptest! {
    #[test]
    fn after_it_matters_no_more_it_equals_a_new_one(
        charges in proptest::collection::vec((0.0f64..300.0, 0u64..4_000_000), 1..20),
        weight in 0.0f64..500.0,
    ) {
        let (l, mut a, mut at) = (ladder(), Account::default(), 0);
        for (weight, wait) in charges {
            a.charge(&l, weight, later(at));
            at += wait;
        }
        let then = later(at + a.matters(&l, later(at)));
        let mut new = Account::default();
        prop_assert_eq!(a.charge(&l, weight, then), new.charge(&l, weight.min(l.ban), then), "{:?}", a);
        prop_assert_eq!(a.strikes, new.strikes);
    }
}
