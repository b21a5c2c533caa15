//! One connection: frames both ways over an arm's byte stream, with the peer's identity.
//! Both halves keep their unfinished bytes to themselves, so any of their futures may be dropped and asked again.

use bytes::Bytes;

use super::frame::{Decoder, Encoder, FRAME_MAX};
use super::hello::{HELLO_MAX, Hello};
use super::{NetError, PeerIdentity, arm};

/// A connection whose two ends know each other.
pub struct Connection {
    peer: PeerIdentity,
    sender: Sender,
    receiver: Receiver,
}

impl Connection {
    /// Exchanges hellos over fresh halves; `prove` turns the peer's into its identity, or refuses it.
    pub(super) async fn greet(
        write: arm::WriteHalf,
        read: arm::ReadHalf,
        ours: &Hello,
        prove: impl FnOnce(Hello) -> Result<PeerIdentity, NetError>,
    ) -> Result<Self, NetError> {
        let mut sender = Sender::new(write);
        let mut receiver = Receiver::new(read);
        sender.send(ours.encode()).await?;
        let silent = || NetError::Untrusted { reason: "it left without saying who it is".to_owned() };
        let frame = match receiver.recv_bounded(HELLO_MAX).await {
            Ok(frame) => frame.ok_or_else(silent)?,
            Err(NetError::TooLarge { .. } | NetError::MidFrame { .. }) => {
                return Err(NetError::Untrusted { reason: "it does not speak this protocol".to_owned() });
            }
            Err(error) => return Err(error),
        };
        let peer = prove(Hello::decode(&frame)?)?;
        Ok(Self { peer, sender, receiver })
    }

    /// A connection whose transport has proven the peer already.
    #[cfg(not(madsim))]
    pub(super) fn proven(write: arm::WriteHalf, read: arm::ReadHalf, peer: PeerIdentity) -> Self {
        Self { peer, sender: Sender::new(write), receiver: Receiver::new(read) }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The two halves, which may live in different tasks. The connection ends when both are dropped.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// [`Sender::send`] without splitting.
    pub async fn send(&mut self, frame: Bytes) -> Result<(), NetError> {
        self.sender.send(frame).await
    }

    /// [`Receiver::recv`] without splitting.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, NetError> {
        self.receiver.recv().await
    }
}

/// The half that sends. Dropping it ends the stream for the peer, without waiting for queued frames: see [`close`](Self::close).
pub struct Sender {
    encoder: Encoder,
    stream: arm::WriteHalf,
    failed: Option<NetError>,
}

impl Sender {
    fn new(stream: arm::WriteHalf) -> Self {
        Self { encoder: Encoder::default(), stream, failed: None }
    }

    /// Sends one frame of at most [`FRAME_MAX`] bytes, and all that was queued before it.
    ///
    /// Returns when the network has taken it, which says nothing about the peer. If the future is dropped, the frame stays
    /// queued and goes out whole with the next [`flush`](Self::flush) or `send`.
    pub async fn send(&mut self, frame: Bytes) -> Result<(), NetError> {
        self.queue(frame)?;
        self.flush().await
    }

    /// Queues a frame without sending: for batches. [`queued`](Self::queued) is the caller's to bound.
    pub fn queue(&mut self, frame: Bytes) -> Result<(), NetError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.encoder.push(frame),
        }
    }

    /// Bytes queued that the network has not taken.
    pub fn queued(&self) -> usize {
        self.encoder.queued()
    }

    /// Hands all that is queued to the network. After an error the connection is of no more use, and says the same again.
    pub async fn flush(&mut self) -> Result<(), NetError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let written = self.stream.write_all(&mut self.encoder).await;
        if let Err(error) = &written {
            self.failed = Some(error.clone());
        }
        written
    }

    /// Sends what is queued and ends the stream: the peer's `recv` answers `None` after the last frame.
    pub async fn close(&mut self) -> Result<(), NetError> {
        self.flush().await?;
        self.failed = Some(NetError::Closed);
        self.stream.shutdown().await
    }
}

/// The half that receives.
pub struct Receiver {
    decoder: Decoder,
    stream: arm::ReadHalf,
    failed: Option<NetError>,
    ended: bool,
}

impl Receiver {
    fn new(stream: arm::ReadHalf) -> Self {
        Self { decoder: Decoder::default(), stream, failed: None, ended: false }
    }

    /// The next frame; `None` when the peer ended the stream between two frames.
    ///
    /// Dropping the future loses nothing. After an error the connection is of no more use, and says the same again.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, NetError> {
        self.recv_bounded(FRAME_MAX).await
    }

    async fn recv_bounded(&mut self, limit: usize) -> Result<Option<Bytes>, NetError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let received = self.fill(limit).await;
        if let Err(error) = &received {
            self.failed = Some(error.clone());
        }
        received
    }

    async fn fill(&mut self, limit: usize) -> Result<Option<Bytes>, NetError> {
        loop {
            if let Some(frame) = self.decoder.next(limit)? {
                return Ok(Some(frame));
            }
            if self.ended {
                return match self.decoder.missing() {
                    0 => Ok(None),
                    missing => Err(NetError::MidFrame { missing }),
                };
            }
            self.ended = self.stream.read(self.decoder.buffer()).await? == 0;
        }
    }
}
