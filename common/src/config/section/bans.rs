//! `[bans]`: who is refused by file, besides what operators ban.

use config::Value;

use super::super::file::Files;
use super::super::model::Bans;
use super::super::read::Section;
use crate::ids::UserId;
use crate::trie::parse_network;

/// The most that one file may name.
const MOST: usize = 50_000;

pub(super) fn bans(mut s: Section<'_>, files: Files<'_>) -> Bans {
    s.optional("file", |v| read(v, files)).unwrap_or_default()
}

/// One a line: an address, a network, or `user` and a user id; `#` begins a comment.
fn read(value: &Value, files: Files<'_>) -> Result<Bans, String> {
    let (path, text) = files.text(value)?;
    let mut bans = Bans { file: Some(path), ..Bans::default() };
    for (n, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        let wrong = |what: &str| format!("names a file whose line {} is {what}", n + 1);
        if entry.is_empty() {
            continue;
        }
        if let Some(user) = entry.strip_prefix("user ") {
            bans.users.push(UserId::parse(user.trim()).map_err(|_| wrong("not a user id"))?);
        } else {
            bans.networks
                .push(parse_network(entry).ok_or_else(|| wrong("neither an address, a network nor `user` and an id"))?);
        }
        if bans.users.len() + bans.networks.len() > MOST {
            return Err(format!("names a file with more than {MOST} entries"));
        }
    }
    Ok(bans)
}
