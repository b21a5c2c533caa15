//! How votes, log ids and entries are written: little-endian, each of one length or with its payload last, nothing behind it.
//!
//! A log id is `term u64 | node u64 | index u64`, a vote `term u64 | node u64 | committed u8`, an entry `version and kind u8 | log id |
//! payload`, a snapshot `length of what follows u32 | its last log id and membership | state`. What is rare (a membership, what a snapshot
//! stands for) is JSON. The store below has the checksums.

use openraft::impls::leader_id_adv::LeaderId;
use openraft::type_config::alias::{EntryOf, LogIdOf, SnapshotMetaOf, VoteOf};
use openraft::{Entry, EntryPayload, LogId};

use crate::types::{Consensus, Proposal};

/// The version of the layout, the upper half of an entry's first byte.
const VERSION: u8 = 1;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The length of a log id.
const LOG_ID: usize = 24;

/// Why bytes of a log are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Too many or too few.
    #[error("a {what} cannot have {len} bytes")]
    Length {
        /// What they should be.
        what: &'static str,
        /// How many there are.
        len: usize,
    },
    /// A version that this build does not know.
    #[error("the entry has version {found}, this build reads version {VERSION}: use the build that wrote it")]
    Version {
        /// Which.
        found: u8,
    },
    /// A value that is never written.
    #[error("a {what} is never written with {found}")]
    Value {
        /// Of what.
        what: &'static str,
        /// Which.
        found: u8,
    },
    /// A membership, or what a snapshot stands for, that is no JSON of one.
    #[error("the membership, or what the snapshot stands for, cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// What consensus writes, for whoever tries its decoders with bytes of his own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// A vote.
    Vote,
    /// A log id.
    LogId,
    /// An entry of the log.
    Entry,
    /// A snapshot.
    Snapshot,
}

impl Written {
    /// Reads the bytes, and writes again what they say.
    pub fn again(self, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        Ok(match self {
            Self::Vote => encode_vote(&decode_vote(bytes)?),
            Self::LogId => encode_log_id(&decode_log_id(bytes)?),
            Self::Entry => encode_entry(&decode_entry(bytes)?),
            Self::Snapshot => {
                let (meta, state) = decode_snapshot(bytes)?;
                encode_snapshot(&meta, state)
            }
        })
    }
}

pub(crate) fn encode_vote(vote: &VoteOf<Consensus>) -> Vec<u8> {
    let mut out = words([vote.leader_id.term, vote.leader_id.node_id]);
    out.push(vote.committed.into());
    out
}

pub(crate) fn decode_vote(bytes: &[u8]) -> Result<VoteOf<Consensus>, DecodeError> {
    let (leader_id, rest) = leader(bytes).ok_or(DecodeError::Length { what: "vote", len: bytes.len() })?;
    let committed = match rest {
        [flag @ (0 | 1)] => *flag == 1,
        [found] => return Err(DecodeError::Value { what: "vote", found: *found }),
        _ => return Err(DecodeError::Length { what: "vote", len: bytes.len() }),
    };
    Ok(VoteOf::<Consensus> { leader_id, committed })
}

pub(crate) fn encode_log_id(log_id: &LogIdOf<Consensus>) -> Vec<u8> {
    words([log_id.leader_id.term, log_id.leader_id.node_id, log_id.index])
}

pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogIdOf<Consensus>, DecodeError> {
    let length = || DecodeError::Length { what: "log id", len: bytes.len() };
    let (leader_id, rest) = leader(bytes).ok_or_else(length)?;
    let index = u64::from_le_bytes(rest.try_into().map_err(|_| length())?);
    Ok(LogId { leader_id, index })
}

pub(crate) fn encode_entry(entry: &EntryOf<Consensus>) -> Vec<u8> {
    let membership;
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (BLANK, &[][..]),
        EntryPayload::Normal(Proposal(bytes)) => (NORMAL, &bytes[..]),
        EntryPayload::Membership(members) => {
            membership = serde_json::to_vec(members).expect("sets and maps of numbers and names are JSON");
            (MEMBERSHIP, &membership[..])
        }
    };
    let mut out = Vec::with_capacity(1 + LOG_ID + payload.len());
    out.push(VERSION << 4 | kind);
    out.extend(encode_log_id(&entry.log_id));
    out.extend_from_slice(payload);
    out
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<EntryOf<Consensus>, DecodeError> {
    let length = || DecodeError::Length { what: "log entry", len: bytes.len() };
    let (first, rest) = bytes.split_first().ok_or_else(length)?;
    if first >> 4 != VERSION {
        return Err(DecodeError::Version { found: first >> 4 });
    }
    let (log_id, payload) = rest.split_at_checked(LOG_ID).ok_or_else(length)?;
    let payload = match first & 0xf {
        BLANK if payload.is_empty() => EntryPayload::Blank,
        BLANK => return Err(length()),
        NORMAL => EntryPayload::Normal(Proposal(payload.to_vec())),
        MEMBERSHIP => EntryPayload::Membership(serde_json::from_slice(payload)?),
        found => return Err(DecodeError::Value { what: "log entry", found }),
    };
    Ok(Entry { log_id: decode_log_id(log_id)?, payload })
}

pub(crate) fn encode_snapshot(meta: &SnapshotMetaOf<Consensus>, state: &[u8]) -> Vec<u8> {
    let meta = serde_json::to_vec(meta).expect("sets and maps of numbers and names are JSON");
    [&(meta.len() as u32).to_le_bytes(), &meta[..], state].concat()
}

pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<(SnapshotMetaOf<Consensus>, &[u8]), DecodeError> {
    let length = || DecodeError::Length { what: "snapshot", len: bytes.len() };
    let (len, rest) = bytes.split_first_chunk().ok_or_else(length)?;
    let (meta, state) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(length)?;
    Ok((serde_json::from_slice(meta)?, state))
}

fn words<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn leader(bytes: &[u8]) -> Option<(LeaderId<u64, u64>, &[u8])> {
    let (term, rest) = bytes.split_first_chunk()?;
    let (node, rest) = rest.split_first_chunk()?;
    Some((LeaderId { term: u64::from_le_bytes(*term), node_id: u64::from_le_bytes(*node) }, rest))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::{BasicNode, Membership};

    use super::*;

    fn log_id() -> LogIdOf<Consensus> {
        LogId { leader_id: LeaderId { term: 3, node_id: 2 }, index: 0x0102 }
    }

    #[test]
    fn the_bytes_are_these_and_stay_these() {
        let id = [3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(encode_log_id(&log_id()), id);
        assert_eq!(decode_log_id(&id).unwrap(), log_id());
        let vote = VoteOf::<Consensus> { leader_id: log_id().leader_id, committed: true };
        let bytes = [&id[..16], &[1]].concat();
        assert_eq!(encode_vote(&vote), bytes);
        assert_eq!(decode_vote(&bytes).unwrap(), vote);
        let nodes = BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]);
        let members = Membership::new(vec![BTreeSet::from([1, 2])], nodes).unwrap();
        let json = br#"{"configs":[[1,2]],"nodes":{"1":{"addr":"a:1"},"2":{"addr":"b:2"}}}"#;
        let payloads = [
            (0x10, EntryPayload::Blank, &[][..]),
            (0x11, EntryPayload::Normal(Proposal(b"set".to_vec())), b"set"),
            (0x12, EntryPayload::Membership(members), json),
        ];
        for (kind, payload, last) in payloads {
            let entry = Entry { log_id: log_id(), payload };
            let bytes = [&[kind], &id[..], last].concat();
            assert_eq!(encode_entry(&entry), bytes, "{}", String::from_utf8_lossy(&encode_entry(&entry)));
            assert_eq!(decode_entry(&bytes).unwrap(), entry);
        }
    }

    #[test]
    fn what_is_never_written_is_refused() {
        let blank = encode_entry(&Entry { log_id: log_id(), payload: EntryPayload::Blank });
        for len in 0..blank.len() {
            assert!(decode_entry(&blank[..len]).is_err(), "cut to {len}");
            assert!(decode_log_id(&blank[1..1 + len.min(23)]).is_err(), "cut to {len}");
        }
        assert!(decode_entry(&[&blank[..], &[0]].concat()).is_err());
        for first in [0x00, 0x13, 0x20] {
            assert!(decode_entry(&[&[first], &blank[1..]].concat()).is_err());
        }
        assert!(decode_vote(&[&blank[1..17], &[2]].concat()).is_err());
        assert!(decode_vote(&blank[1..17]).is_err());
    }
}
