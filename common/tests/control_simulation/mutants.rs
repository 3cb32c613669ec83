//! How the store and the machines around the reader can be wrong: each breaks one promise that the reader builds on, or
//! takes back a check, to show that the simulation would notice.

/// One broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The stream is trimmed behind the snapshot, and one entry more.
    SnapshotTrimsOneMore,
    /// A snapshot lacks the newest entry of what is in force.
    SnapshotLosesTheNewest,
    /// A promoted replica cannot be told from the master before it.
    ServersLookAlike,
    /// The end of the log is told too early.
    HeadIsEarly,
    /// A read now and then begins one entry too late.
    ReadSkipsAnEntry,
    /// What the store lost is not written back.
    NothingIsWrittenBack,
    /// A copy is said to be on disk, and is not.
    CopyIsNotWritten,
    /// What the disk has is not looked at.
    CopyIsNotRead,
}

impl Fault {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::SnapshotTrimsOneMore,
        Self::SnapshotLosesTheNewest,
        Self::ServersLookAlike,
        Self::HeadIsEarly,
        Self::ReadSkipsAnEntry,
        Self::NothingIsWrittenBack,
        Self::CopyIsNotWritten,
        Self::CopyIsNotRead,
    ];
}
