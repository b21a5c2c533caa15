//! Who we are to peers, and who they are to us.
//! A name is 1 to 255 bytes of letters, digits, `.`, `-` and `_`: what a certificate's DNS name can carry.

use std::fmt;

use super::{Address, NetError};

/// A peer, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    name: String,
    proof: Proof,
}

impl PeerIdentity {
    pub(super) fn new(name: String, proof: Proof) -> Self {
        Self { name, proof }
    }

    /// Its name; worth as much as its [`proof`](Self::proof).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands behind the name.
    pub fn proof(&self) -> Proof {
        self.proof
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// What stands behind a peer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A certificate that our authority signed, and its private key.
    Certificate,
    /// The kernel's word for the process at the other end of a Unix socket; the name itself is claimed.
    Process {
        /// Process id when it connected; ids are reused.
        pid: Option<i32>,
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// Nothing but its own word; only ever seen on loopback.
    Claimed,
}

/// Who we are, and whom we believe.
#[derive(Clone)]
pub struct Credentials {
    name: String,
    pub(super) keys: Option<super::arm::Keys>,
}

impl Credentials {
    /// A name without any proof: good for loopback and Unix sockets, refused everywhere else.
    pub fn plain(name: &str) -> Result<Self, CredentialsError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), keys: None })
    }

    /// A certificate chain with its private key, and the authority that must have signed every peer's; each in PEM.
    ///
    /// The name is the certificate's first DNS name (subject alternative names; common names are not looked at).
    /// The simulated arm has no TLS and refuses: use `Credentials::simulated` there.
    pub fn from_pem(certificate: &[u8], key: &[u8], authority: &[u8]) -> Result<Self, CredentialsError> {
        let (name, keys) = super::arm::Keys::from_pem(certificate, key, authority)?;
        check_name(&name)?;
        Ok(Self { name, keys: Some(keys) })
    }

    /// The simulator's certificate: `name`, vouched for by `authority`; peers of another authority are not believed.
    #[cfg(madsim)]
    pub fn simulated(name: &str, authority: &str) -> Result<Self, CredentialsError> {
        check_name(name)?;
        check_name(authority)?;
        let keys = super::arm::Keys { authority: authority.to_owned() };
        Ok(Self { name: name.to_owned(), keys: Some(keys) })
    }

    /// Our name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether peers get a proof of our name, and must prove theirs.
    pub fn authenticates(&self) -> bool {
        self.keys.is_some()
    }

    /// Refuses an address that credentials without keys must not be used at.
    pub(super) fn allow(&self, address: &Address) -> Result<(), NetError> {
        if self.keys.is_none() && !address.is_local() {
            return Err(NetError::NotLoopback { address: address.clone() });
        }
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .field("authenticates", &self.authenticates())
            .finish()
    }
}

/// Why credentials cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A name that no certificate could carry.
    #[error("`{0}` is no name: 1 to 255 letters, digits, `.`, `-` and `_` are")]
    Name(String),
    /// A PEM text that does not hold what it should.
    #[error("the {what} cannot be used: {reason}")]
    Pem {
        /// Which of the three: certificate, key or authority.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates were given to the simulator.
    #[error("the simulator has no TLS: give it simulated credentials")]
    NotSimulated,
}

pub(super) fn check_name(name: &str) -> Result<(), CredentialsError> {
    let fits = (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if fits { Ok(()) } else { Err(CredentialsError::Name(name.chars().take(300).collect())) }
}
