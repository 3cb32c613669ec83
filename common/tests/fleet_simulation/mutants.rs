//! How a fleet can be wrong: each breaks one rule of the protocols, to show that the simulation would notice.

/// One broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A release looks at the session alone: whoever has the slot now loses it.
    ReleaseIgnoresTheHolder,
    /// A renewal sets the lease, also one that ran out.
    RenewalSetsTheLease,
    /// The lease counts from the answer instead of from when the renewal was sent.
    LeaseCountsFromTheAnswer,
    /// No socket is ever cut.
    FenceOff,
    /// A store that forgot decides as before.
    EraIgnored,
    /// Nobody is waited for when an era is opened.
    NobodyIsNamed,
    /// A node says that it has claimed its sessions, and has not.
    ClaimsAreSkipped,
    /// An absent lease is a dead node, at once and whatever the store did.
    ReapOnAPausedStore,
    /// Sessions of an earlier life do not say that they are there.
    NoReassertion,
    /// A new holder has the generation of the one before.
    ResumeKeepsTheGeneration,
    /// A token that was spent wins.
    SpentTokensWin,
    /// Who was ended is only cut off, and can come back.
    EndedCanResume,
    /// Slots of dead nodes stay.
    NobodyReaps,
    /// A slot of a later generation is taken for that of the connection that is there.
    StraysAreKnownBySession,
}

impl Fault {
    /// Every one, and a schedule that is known to catch it: where the search begins.
    pub const ALL: [(Self, u64); 14] = [
        (Self::ReleaseIgnoresTheHolder, 0),
        (Self::RenewalSetsTheLease, 1_151),
        (Self::LeaseCountsFromTheAnswer, 5_394),
        (Self::FenceOff, 6_501),
        (Self::EraIgnored, 62),
        (Self::NobodyIsNamed, 34),
        (Self::ClaimsAreSkipped, 12),
        (Self::ReapOnAPausedStore, 513),
        (Self::NoReassertion, 1_151),
        (Self::ResumeKeepsTheGeneration, 0),
        (Self::SpentTokensWin, 21),
        (Self::EndedCanResume, 18),
        (Self::NobodyReaps, 5),
        (Self::StraysAreKnownBySession, 331),
    ];
}
