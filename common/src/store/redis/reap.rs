//! Ends what a dead life of a node left behind: its index is walked partition by partition, and every entry is one
//! script on its own keys. So no script meets two partitions, and a partition is locked for one entry at a time.

use futures_util::future::join_all;

use super::Base;
use super::era::When;
use super::keys::{Kind, Name, PARTITIONS};
use super::link::garbled;
use crate::ids::{NodeEpoch, NodeId};
use crate::store::StoreFault;
use crate::store::era::Era;

/// Partitions asked at once.
const AHEAD: usize = 32;

/// At most freed by one script: a few milliseconds of Redis.
const BATCH: usize = 200;

/// An entry of a life's index: a user or a room that may have something of it.
pub(super) struct Life<'a> {
    pub(super) partition: u8,
    pub(super) name: Name,
    pub(super) node: &'a NodeId,
    pub(super) epoch: NodeEpoch,
}

/// Calls `free` for the entries of the index `kind` of a life until `limit` are freed; `free` answers how many it did,
/// and fewer than it was allowed means that this entry has no more. Cost: 256 reads that are answered with nothing when
/// there is nothing, pipelined; then a round trip an entry.
pub(super) async fn walk<'a, F>(
    base: &Base,
    kind: Kind,
    node: &'a NodeId,
    epoch: NodeEpoch,
    limit: usize,
    free: impl Fn(Life<'a>, usize) -> F,
) -> Result<usize, StoreFault>
where
    F: Future<Output = Result<usize, StoreFault>>,
{
    let life = base.keys.life(epoch);
    let era = base.era_for(When::Any).await?;
    let partitions: Vec<u8> = (0..PARTITIONS).filter_map(|partition| u8::try_from(partition).ok()).collect();
    let mut freed = 0;
    for some in partitions.chunks(AHEAD) {
        let firsts = join_all(some.iter().map(|partition| scan(base, *partition, kind, era, &life, 0))).await;
        for (partition, first) in some.iter().zip(firsts) {
            let (mut cursor, mut names) = first?;
            loop {
                for name in names {
                    loop {
                        if freed >= limit {
                            return Ok(freed);
                        }
                        let asked = (limit - freed).min(BATCH);
                        let entry = Life { partition: *partition, name: name.clone(), node, epoch };
                        let done = free(entry, asked).await?;
                        freed += done;
                        if done < asked {
                            break;
                        }
                    }
                }
                if cursor == 0 {
                    break;
                }
                (cursor, names) = scan(base, *partition, kind, era, &life, cursor).await?;
            }
        }
    }
    Ok(freed)
}

/// Some entries of an index, and where to go on; everything that is listed all the time is found, whatever else changes.
async fn scan(
    base: &Base,
    partition: u8,
    kind: Kind,
    era: Era,
    life: &Name,
    cursor: u64,
) -> Result<(u64, Vec<Name>), StoreFault> {
    let mut command = redis::cmd("SSCAN");
    command.arg(base.keys.in_partition(partition, kind, era, life)).arg(cursor).arg("COUNT").arg(100);
    let (cursor, names): (u64, Vec<String>) = base.link.command(&command).await?;
    let names: Option<Vec<Name>> = names.into_iter().map(Name::parse).collect();
    Ok((cursor, names.ok_or_else(garbled)?))
}
