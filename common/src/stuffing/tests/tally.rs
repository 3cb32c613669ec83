//! What a node adds up, and who got in.

use std::net::Ipv4Addr;

use super::super::tally::{FAILED, GENERATION, REMEMBERED, Tally};
use super::super::*;
use super::{forged, ip};
use crate::clock::Mono;

#[test]
fn a_tally_is_bounded_and_says_what_it_left_out() {
    let mut tally = Tally::default();
    for n in 0..u32::try_from(FAILED + 5).unwrap() {
        (0..100).for_each(|m| tally.refused(Ipv4Addr::from_bits(n).into(), forged(m)));
    }
    let report = tally.take().unwrap();
    assert_eq!((report.seen.len(), report.left_out, tally.waiting()), (NETWORKS, 500, FAILED - NETWORKS));
    assert!(report.seen.iter().all(|seen| seen.accounts.len() == ACCOUNTS && seen.refused == 100));
    tally.give_back(report.clone());
    assert_eq!(tally.waiting(), FAILED);
    let again = tally.take().unwrap();
    assert_eq!(again.left_out, 500);
}

#[test]
fn whoever_got_in_is_remembered_for_a_generation_and_forgotten_after_two() {
    let (from, at) = (ip(192, 0, 2, 1), |generations: u32| Mono(1).after(GENERATION * generations));
    let mut tally = Tally::default();
    let users = |tally: &mut Tally| {
        while tally.take().is_some() {}
        tally.refused(from, None);
        tally.take().unwrap().seen.remove(0).users
    };
    tally.got_in(from, Mark(1), at(1));
    tally.got_in(ip(9, 9, 9, 9), Mark(2), at(2));
    assert_eq!(users(&mut tally), [Mark(1)]);
    tally.got_in(ip(9, 9, 9, 9), Mark(2), at(3));
    assert_eq!(users(&mut tally), []);
    for n in 0..3 * REMEMBERED as u32 {
        tally.got_in(Ipv4Addr::from_bits(n).into(), Mark(1), at(3));
        if n % 4_096 == 0 {
            while tally.take().is_some() {}
        }
    }
    while tally.take().is_some() {}
    tally.got_in(from, Mark(3), at(3));
    assert_eq!(users(&mut tally), [Mark(3)]);
}
