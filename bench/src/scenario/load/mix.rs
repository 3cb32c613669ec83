//! Which operation comes when: a pattern in which each comes as often as its weight says, spread as evenly as whole numbers
//! allow (smooth weighted round robin, as nginx balances with it).

use std::str::FromStr;

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Says something in its room.
    Room,
    /// Says something to its neighbour alone.
    Direct,
    /// Goes into another room, or out of it.
    Move,
    /// A newcomer connects, and goes when it is welcome.
    Connect,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Room, Self::Direct, Self::Move, Self::Connect];

    /// What it is called in a mix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Direct => "direct",
            Self::Move => "join",
            Self::Connect => "connect",
        }
    }

    /// Its place in tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A repeated pattern of operations.
#[derive(Debug, Clone)]
pub struct Mix {
    pattern: Vec<Op>,
}

impl Mix {
    /// The `n`-th operation.
    #[must_use]
    pub fn at(&self, n: u64) -> Op {
        let length = self.pattern.len().max(1) as u64;
        usize::try_from(n % length).ok().and_then(|n| self.pattern.get(n)).copied().unwrap_or(Op::Room)
    }

    /// How many of all operations are this one, 0..=1.
    #[must_use]
    pub fn share(&self, op: Op) -> f64 {
        self.pattern.iter().filter(|other| **other == op).count() as f64 / self.pattern.len().max(1) as f64
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let weight = |part: &str| {
            let (name, weight) = part.split_once('=').ok_or(format!("{part}: NAME=WEIGHT"))?;
            let op = Op::ALL.into_iter().find(|op| op.name() == name).ok_or(format!("{name}: no such operation"))?;
            match weight.parse::<i64>() {
                Ok(weight @ 1..=1000) => Ok((op, weight)),
                _ => Err(format!("{part}: a weight is 1 to 1000")),
            }
        };
        let weights = text.split(',').map(weight).collect::<Result<Vec<_>, String>>()?;
        let sum: i64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut credit: Vec<(i64, Op, i64)> = weights.into_iter().map(|(op, weight)| (0, op, weight)).collect();
        let mut pattern = Vec::new();
        for _ in 0..sum {
            credit.iter_mut().for_each(|(credit, _, weight)| *credit += *weight);
            if let Some(next) = credit.iter_mut().max_by_key(|(credit, ..)| *credit) {
                next.0 -= sum;
                pattern.push(next.1);
            }
        }
        Ok(Self { pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_comes_as_often_as_its_weight_says_and_not_in_a_row() {
        let mix: Mix = "room=6,direct=3,join=1".parse().expect("legal");
        assert_eq!((mix.share(Op::Room), mix.share(Op::Direct), mix.share(Op::Connect)), (0.6, 0.3, 0.0));
        let rooms = (0..10).map(|n| mix.at(n) == Op::Room).collect::<Vec<_>>();
        assert!(rooms.windows(3).all(|three| !three.iter().all(|room| *room)), "{rooms:?}");
        assert_eq!(mix.at(3), mix.at(13));
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for text in ["", "room", "room=0", "fly=1", "room=x"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
