//! What stands inside a sealed record of the bus: a room's message, or mail for a node. The seal's version covers the
//! format; a kind that this software does not know is unreadable, not an error of the sender.

use bytes::Bytes;

use super::bus::{NodeMail, Record};
use super::octets::{Reader, put_text};
use super::session::{Holder, Passed};
use crate::clock::UnixMs;
use crate::ids::{NodeEpoch, NodeId, SessionId, TenantId, UserId};

const HAS_EXCLUDE: u8 = 1;
const HAS_UNTIL: u8 = 2;

const TO_USER: u8 = 1;
const EVICT: u8 = 2;
const PASSED: u8 = 3;

/// A room's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) record: Record,
    /// Where it is kept: it may come out of the history until then, and no longer.
    pub(super) until: Option<UnixMs>,
}

impl Message {
    pub(super) fn write(record: &Record, until: Option<UnixMs>) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + record.body.len());
        put_record(&mut out, record, until);
        out
    }

    pub(super) fn read(bytes: &Bytes) -> Option<Self> {
        read_record(bytes, Reader::new(bytes))
    }
}

fn put_record(out: &mut Vec<u8>, record: &Record, until: Option<UnixMs>) {
    let exclude = if record.exclude.is_some() { HAS_EXCLUDE } else { 0 };
    out.push(exclude | if until.is_some() { HAS_UNTIL } else { 0 });
    if let Some(sid) = record.exclude {
        out.extend_from_slice(&sid.0.to_be_bytes());
    }
    if let Some(until) = until {
        out.extend_from_slice(&until.0.to_be_bytes());
    }
    out.extend_from_slice(&record.body);
}

fn read_record(whole: &Bytes, mut reader: Reader<'_>) -> Option<Message> {
    let flags = reader.u8()?;
    if flags & !(HAS_EXCLUDE | HAS_UNTIL) != 0 {
        return None;
    }
    let exclude = if flags & HAS_EXCLUDE == 0 { None } else { Some(SessionId(reader.u128()?)) };
    let until = if flags & HAS_UNTIL == 0 { None } else { Some(UnixMs(reader.u64()?)) };
    Some(Message { record: Record { body: whole.slice_ref(reader.rest()), exclude }, until })
}

pub(super) fn write_mail(mail: &NodeMail) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    match mail {
        NodeMail::ToUser { user, tenant, record } => {
            out.push(TO_USER);
            put_text(&mut out, user.as_str());
            put_text(&mut out, tenant.as_ref().map_or("", TenantId::as_str));
            put_record(&mut out, record, None);
        }
        NodeMail::Evict { user, victim } => {
            out.push(EVICT);
            put_text(&mut out, user.as_str());
            put_holder(&mut out, victim);
        }
        NodeMail::Passed(passed) => {
            out.push(PASSED);
            put_holder(&mut out, &passed.to);
            out.extend_from_slice(&passed.seq.to_be_bytes());
        }
    }
    out
}

pub(super) fn read_mail(bytes: &Bytes) -> Option<NodeMail> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        TO_USER => {
            let user = UserId::parse(reader.text()?).ok()?;
            // a tenant's name is never empty
            let tenant = match reader.text()? {
                "" => None,
                tenant => Some(TenantId::parse(tenant).ok()?),
            };
            let record = read_record(bytes, reader)?.record;
            Some(NodeMail::ToUser { user, tenant, record })
        }
        EVICT => {
            let user = UserId::parse(reader.text()?).ok()?;
            let victim = read_holder(&mut reader)?;
            reader.end().map(|()| NodeMail::Evict { user, victim })
        }
        PASSED => {
            let to = read_holder(&mut reader)?;
            let seq = reader.u64()?;
            reader.end().map(|()| NodeMail::Passed(Passed { to, seq }))
        }
        _ => None,
    }
}

fn put_holder(out: &mut Vec<u8>, holder: &Holder) {
    out.extend_from_slice(&holder.sid.0.to_be_bytes());
    put_text(out, holder.node.as_str());
    out.extend_from_slice(&holder.epoch.0.to_be_bytes());
    out.extend_from_slice(&holder.generation.to_be_bytes());
}

fn read_holder(reader: &mut Reader<'_>) -> Option<Holder> {
    Some(Holder {
        sid: SessionId(reader.u128()?),
        node: NodeId::parse(reader.text()?).ok()?,
        epoch: NodeEpoch(reader.u128()?),
        generation: reader.u32()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record { body: Bytes::from_static(b"{\"t\":\"chat\"}"), exclude: Some(SessionId(9)) }
    }

    fn mails() -> Vec<NodeMail> {
        let user = UserId::parse("ada@example.com").unwrap();
        let node = NodeId::parse("gw-2").unwrap();
        let holder = Holder { sid: SessionId(1), node, epoch: NodeEpoch(u128::MAX), generation: 4 };
        vec![
            NodeMail::ToUser { user: user.clone(), tenant: None, record: record() },
            NodeMail::ToUser { user: user.clone(), tenant: Some(TenantId::parse("t").unwrap()), record: record() },
            NodeMail::Evict { user, victim: holder.clone() },
            NodeMail::Passed(Passed { to: holder, seq: u64::MAX }),
        ]
    }

    #[test]
    fn mail_reads_back_as_it_was_written() {
        for mail in mails() {
            let read = read_mail(&Bytes::from(write_mail(&mail))).unwrap();
            assert_eq!(format!("{read:?}"), format!("{mail:?}"));
        }
    }

    #[test]
    fn mail_cut_short_or_drawn_out_is_unreadable_but_for_a_body() {
        for mail in mails().into_iter().skip(2) {
            let whole = Bytes::from(write_mail(&mail));
            for length in 0..whole.len() {
                assert!(read_mail(&whole.slice(..length)).is_none(), "{mail:?} {length}");
            }
            let longer = Bytes::from([whole.as_ref(), b"x"].concat());
            assert!(read_mail(&longer).is_none(), "{mail:?}");
        }
    }

    #[test]
    fn unknown_kinds_and_flags_are_unreadable() {
        for kind in [0, 4, 255] {
            let mut mail = write_mail(&mails()[2]);
            mail[0] = kind;
            assert!(read_mail(&Bytes::from(mail)).is_none(), "{kind}");
        }
        assert_eq!(Message::read(&Bytes::from_static(&[4, b'{', b'}'])), None);
        assert_eq!(Message::read(&Bytes::new()), None);
    }

    proptest! {
        #[test]
        fn a_message_reads_back_as_it_was_written(
            body in proptest::collection::vec(any::<u8>(), 0..64), exclude: Option<u128>, until: Option<u64>,
        ) {
            let record = Record { body: Bytes::from(body), exclude: exclude.map(SessionId) };
            let until = until.map(UnixMs);
            let read = Message::read(&Bytes::from(Message::write(&record, until)));
            prop_assert_eq!(read, Some(Message { record, until }));
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..128)) {
            let noise = Bytes::from(noise);
            let _ = read_mail(&noise);
            let _ = Message::read(&noise);
        }
    }
}
