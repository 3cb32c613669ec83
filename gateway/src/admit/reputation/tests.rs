//! Which files are taken, and what comes first.

use ipnet::IpNet;
use portcullis_common::config::model::Penalty;
use portcullis_common::config::secret::Secret;
use portcullis_common::control::key::OperatorKey;
use portcullis_common::feed::file::{Head, write};
use portcullis_common::trie::NetworkMarks;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;

use super::*;

const NOW: UnixMs = UnixMs(1_000_000);

fn key(n: u64) -> OperatorKey {
    OperatorKey::generate(&mut StdRng::seed_from_u64(n)).unwrap()
}

fn head(version: u64) -> Head {
    Head { name: FeedName::parse("drop").unwrap(), version, made: NOW, expires: UnixMs(NOW.0 + 1_000) }
}

/// A directory with the feed, and the configuration that names it.
struct Bench {
    dir: TempDir,
    config: Config,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::dev(Secret::new(vec![7; 32]), 0, 0).unwrap();
        let rule = FeedRule {
            file: dir.path().join("feed"),
            public_keys: vec![key(1).public()],
            points: 200,
            block_from: Score::new(80),
            dry_run: false,
        };
        config.feed.insert(FeedName::parse("drop").unwrap(), rule);
        Self { dir, config }
    }

    fn put(&self, head: &Head, signer: u64) {
        let mut marks = NetworkMarks::default();
        for (network, score) in [("5.5.0.0/16", 50), ("6.6.6.6/32", 80)] {
            marks.insert(network.parse::<IpNet>().unwrap(), score.try_into().unwrap());
        }
        std::fs::write(self.dir.path().join("feed"), write(head, &marks, &key(signer))).unwrap();
    }

    fn load(&self, before: Option<&Feeds>, now: UnixMs) -> Result<Feeds, String> {
        Feeds::load(&self.config, before, now).map_err(|problems| {
            let [(path, problem)] = &problems[..] else { panic!("{problems:?}") };
            assert_eq!(path, "feed.drop.file");
            problem.clone()
        })
    }

    fn said(feeds: &Feeds, ip: &str) -> Vec<(u8, Action, Mode)> {
        feeds.said(ip.parse().unwrap(), NOW).map(|(_, l, action, mode)| (l.score.get(), action, mode)).collect()
    }
}

#[test]
fn a_score_blocks_or_is_worth_points_and_whoever_is_spared_or_tried_out_is_not_touched() {
    let mut bench = Bench::new();
    bench.put(&head(1), 1);
    let feeds = bench.load(None, NOW).unwrap();
    assert_eq!(Bench::said(&feeds, "5.5.1.1"), [(50, Action::Score, Mode::Enforced)]);
    assert_eq!(Bench::said(&feeds, "::ffff:6.6.6.6"), [(80, Action::Block, Mode::Enforced)]);
    assert_eq!(Bench::said(&feeds, "6.6.6.7"), []);
    assert!((feeds.sources()[0].points(Score::new(50).unwrap()) - 100.0).abs() < 1e-9);
    let never_ban = vec!["5.5.1.0/24".parse().unwrap()];
    bench.config.penalty = Penalty { never_ban, ..bench.config.penalty };
    bench.config.feed.values_mut().for_each(|rule| rule.dry_run = true);
    let feeds = bench.load(Some(&feeds), NOW).unwrap();
    assert_eq!(Bench::said(&feeds, "5.5.1.1"), [(50, Action::Score, Mode::Spared)]);
    assert_eq!(Bench::said(&feeds, "5.5.2.1"), [(50, Action::Score, Mode::DryRun)]);
}

#[test]
fn only_what_is_newer_and_signed_takes_the_place_of_what_is_in_force() {
    let mut bench = Bench::new();
    bench.put(&head(5), 1);
    let feeds = bench.load(None, NOW).unwrap();
    let refused = |bench: &Bench| bench.load(Some(&feeds), NOW).err().unwrap();
    for (version, signer, why) in [
        (4, 1, "of version 4, which is not newer than the one in force, 5"),
        (6, 2, "signed by a key that is not believed"),
    ] {
        bench.put(&head(version), signer);
        assert!(refused(&bench).contains(why), "{}", refused(&bench));
    }
    // other contents under the version in force
    bench.put(&Head { expires: UnixMs(NOW.0 + 2_000), ..head(5) }, 1);
    assert!(refused(&bench).contains("not newer"));
    bench.put(&Head { name: FeedName::parse("other").unwrap(), ..head(6) }, 1);
    assert!(refused(&bench).contains("another feed, `other`"));
    bench.put(&Head { made: UnixMs(NOW.0 + 301_000), ..head(6) }, 1);
    assert!(refused(&bench).contains("made 301 s in the future"));
    bench.put(&head(6), 1);
    assert_eq!(bench.load(Some(&feeds), NOW).unwrap().sources()[0].says.edition().version, 6);
    // keys that are not believed any more take the feed with them, changed or not
    bench.put(&head(5), 1);
    bench.config.feed.values_mut().for_each(|rule| rule.public_keys = vec![key(2).public()]);
    assert!(refused(&bench).contains("not believed"));
}

#[test]
fn what_is_over_is_no_news_and_says_nothing() {
    let bench = Bench::new();
    bench.put(&head(5), 1);
    let late = UnixMs(NOW.0 + 1_000);
    // a start is not held up by it
    let feeds = bench.load(None, late).unwrap();
    assert!(feeds.any_over(late) && !feeds.any_over(NOW));
    assert!(feeds.said("6.6.6.6".parse().unwrap(), late).next().is_none());
    // nor is a reload, as long as it is the same
    assert!(bench.load(Some(&feeds), late).is_ok());
    bench.put(&head(6), 1);
    assert!(bench.load(Some(&feeds), late).err().unwrap().contains("is over since 0 s"));
    assert!(bench.load(Some(&Feeds::default()), late).is_err(), "a feed that was not there is news");
}

#[test]
fn a_file_that_did_not_change_is_not_read_into_memory_again() {
    let bench = Bench::new();
    bench.put(&head(5), 1);
    let feeds = bench.load(None, NOW).unwrap();
    let again = bench.load(Some(&feeds), NOW).unwrap();
    assert!(Arc::ptr_eq(&feeds.sources()[0].says, &again.sources()[0].says));
    std::fs::remove_file(bench.dir.path().join("feed")).unwrap();
    assert!(bench.load(Some(&feeds), NOW).err().unwrap().contains("does not exist"));
    std::fs::write(bench.dir.path().join("feed"), vec![0; usize::try_from(LARGEST).unwrap() + 1]).unwrap();
    assert!(bench.load(Some(&feeds), NOW).err().unwrap().contains("longer than"));
}
