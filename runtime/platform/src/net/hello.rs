//! The first frame on a connection whose transport does not prove names: who each side says it is.
//! Real: on loopback and Unix sockets. Simulated: on every connection, where it also carries the authority that vouches.

use bytes::{BufMut, Bytes, BytesMut};

use super::NetError;

/// What a hello opens with; its last byte is the version.
const MAGIC: &[u8; 8] = b"SYNODHI\x01";

/// The longest hello that is read, in bytes: a stranger's first frame may be anything.
pub(super) const HELLO_MAX: usize = MAGIC.len() + 2 + 2 * 255;

/// Who a side says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its own name.
    pub name: String,
    /// Who vouches for the name; empty where nobody does.
    pub authority: String,
}

impl Hello {
    /// The frame that says it.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HELLO_MAX);
        out.put_slice(MAGIC);
        for text in [&self.name, &self.authority] {
            out.put_u8(text.len() as u8);
            out.put_slice(text.as_bytes());
        }
        out.freeze()
    }

    /// Reads a stranger's first frame; anything but a whole hello is `Untrusted`.
    pub fn decode(frame: &[u8]) -> Result<Self, NetError> {
        let stranger =
            || NetError::Untrusted { reason: "its first frame is no hello of this protocol".to_owned() };
        let rest = frame.strip_prefix(MAGIC).ok_or_else(stranger)?;
        let (name, rest) = text(rest).ok_or_else(stranger)?;
        let (authority, rest) = text(rest).ok_or_else(stranger)?;
        if !rest.is_empty() {
            return Err(stranger());
        }
        super::identity::check_name(&name)
            .map_err(|error| NetError::Untrusted { reason: error.to_string() })?;
        Ok(Self { name, authority })
    }
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(length as usize)?;
    Some((std::str::from_utf8(text).ok()?.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hello_reads_back_and_anything_cut_or_longer_is_a_stranger(
            name in "[a-z][a-z0-9.-]{0,62}", authority in "[a-z]{0,20}", cut in 0usize..80,
        ) {
            let hello = Hello { name, authority };
            let frame = hello.encode();
            let read = Hello::decode(&frame);
            prop_assert_eq!(read.as_ref(), Ok(&hello));
            let cut = cut.min(frame.len() - 1);
            prop_assert!(Hello::decode(&frame[..cut]).is_err());
            let longer = [&frame[..], b"x"].concat();
            prop_assert!(Hello::decode(&longer).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Hello::decode(&bytes);
            let _ = Hello::decode(&[&MAGIC[..], &bytes].concat());
        }
    }
}
