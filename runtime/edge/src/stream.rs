//! The two forms of streams: server-sent events, and messages as a line of JSON before each payload.
//!
//! Both are written by the node and read by the client from here, so that they cannot differ. A payload goes as it is, whatever its bytes:
//! the line before it says how many there are.

use serde::{Deserialize, Serialize};

/// The most bytes that a reader keeps while it waits for the end of an event or of a header line.
const PENDING_MAX: usize = 64 << 20;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number, by which a reader can go on after a break.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it says: JSON on one line.
    pub data: String,
}

impl Event {
    /// Its form on the wire.
    pub fn encode(&self) -> String {
        format!("id: {}\nevent: {}\ndata: {}\n\n", self.id, self.name, self.data)
    }
}

/// The form of a stream cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream cannot be read: {0}")]
pub struct StreamError(pub &'static str);

/// Takes server-sent events out of bytes as they come.
#[derive(Debug, Default)]
pub struct Events {
    pending: Vec<u8>,
}

impl Events {
    /// Takes more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole event; comments are left out.
    pub fn take(&mut self) -> Result<Option<Event>, StreamError> {
        while let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.pending.drain(..end + 2).collect();
            let text = String::from_utf8(block).map_err(|_| StreamError("an event is not UTF-8"))?;
            let mut event = Event { id: 0, name: String::new(), data: String::new() };
            for line in text.lines() {
                match line.split_once(": ") {
                    Some(("id", id)) => {
                        event.id = id.parse().map_err(|_| StreamError("an event's id is no number"))?
                    }
                    Some(("event", name)) => event.name = name.into(),
                    Some(("data", data)) => event.data = data.into(),
                    _ => {}
                }
            }
            if !event.name.is_empty() {
                return Ok(Some(event));
            }
        }
        if self.pending.len() > PENDING_MAX { Err(StreamError("an event has no end")) } else { Ok(None) }
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The subject that it was published to.
    pub subject: String,
    /// Who published it.
    pub source: String,
    /// Its priority, as a word.
    pub priority: String,
    /// How many bytes the payload has.
    pub bytes: usize,
}

impl Header {
    /// Header line, payload, line feed.
    pub fn encode(&self, payload: &[u8]) -> Vec<u8> {
        let mut out = serde_json::to_vec(self).unwrap_or_default();
        out.push(b'\n');
        out.extend_from_slice(payload);
        out.push(b'\n');
        out
    }
}

/// Takes messages out of bytes as they come.
#[derive(Debug, Default)]
pub struct Messages {
    pending: Vec<u8>,
}

impl Messages {
    /// Takes more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole message. Empty lines between messages keep the connection alive and mean nothing.
    pub fn take(&mut self) -> Result<Option<(Header, Vec<u8>)>, StreamError> {
        let blank = self.pending.iter().take_while(|byte| **byte == b'\n').count();
        self.pending.drain(..blank);
        let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') else {
            return if self.pending.len() > PENDING_MAX {
                Err(StreamError("a header line has no end"))
            } else {
                Ok(None)
            };
        };
        let header: Header = serde_json::from_slice(&self.pending[..end])
            .map_err(|_| StreamError("a line that should announce a payload does not"))?;
        if header.bytes > PENDING_MAX {
            return Err(StreamError("a payload is announced that is larger than any can be"));
        }
        let whole = end + 1 + header.bytes + 1;
        if self.pending.len() < whole {
            return Ok(None);
        }
        let payload = self.pending[end + 1..whole - 1].to_vec();
        self.pending.drain(..whole);
        Ok(Some((header, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_as_they_went_in_however_the_bytes_are_cut() {
        let events = [
            Event { id: 1, name: "progress".into(), data: "{\"a\": 1}".into() },
            Event { id: 2, name: "end".into(), data: "{}".into() },
        ];
        let text = format!(": hello\n\n{}{}", events[0].encode(), events[1].encode());
        for size in 1..text.len() {
            let (mut reader, mut read) = (Events::default(), Vec::new());
            for part in text.as_bytes().chunks(size) {
                reader.feed(part);
                while let Some(event) = reader.take().expect("right") {
                    read.push(event);
                }
            }
            assert_eq!(read, events, "in parts of {size}");
        }
    }

    #[test]
    fn payloads_of_any_bytes_come_out_as_they_went_in() {
        let header =
            |bytes| Header { subject: "a.b".into(), source: "x".into(), priority: "high".into(), bytes };
        let payloads: [&[u8]; 4] = [b"", b"\n\n", b"{\"subject\":1}\n", &[0, 255, 10, 13]];
        let mut wire = b"\n".to_vec();
        payloads.iter().for_each(|payload| wire.extend(header(payload.len()).encode(payload)));
        for size in 1..wire.len() {
            let (mut reader, mut read) = (Messages::default(), Vec::new());
            for part in wire.chunks(size) {
                reader.feed(part);
                while let Some((header, payload)) = reader.take().expect("right") {
                    assert_eq!(header.bytes, payload.len());
                    read.push(payload);
                }
            }
            assert_eq!(read, payloads, "in parts of {size}");
        }
    }

    #[test]
    fn what_is_no_stream_of_messages_is_refused() {
        let mut reader = Messages::default();
        reader.feed(b"HTTP/1.1 200 OK\n");
        assert!(reader.take().is_err());
        let mut reader = Messages::default();
        reader.feed(
            format!("{{\"subject\":\"a\",\"source\":\"b\",\"priority\":\"low\",\"bytes\":{}}}\n", usize::MAX)
                .as_bytes(),
        );
        assert!(reader.take().is_err());
    }
}
