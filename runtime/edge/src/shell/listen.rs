//! The sockets of a node: bound before it starts, so that a second instance is told at once.
//!
//! The Unix socket is guarded by a lock beside it, which the system lets go when its holder dies: whoever has the lock may replace a stale
//! socket. It comes to its name by a rename, when its mode is 0600 already, and goes when the node ends.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a shell owns its sockets; they are bound before there is an executor"
)]

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use synod_platform::local::folder::{self, FolderError};

/// What to bind.
#[derive(Debug, Clone, Default)]
pub struct Bind {
    /// A TCP address, if any.
    pub tcp: Option<SocketAddr>,
    /// A Unix socket, if any; absolute.
    pub socket: Option<PathBuf>,
}

/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another node holds the socket.
    #[error("another node serves at {}; end it first, or give this one another name (node.name) or socket (http.socket)", .0.display())]
    Running(PathBuf),
    /// The folder of the socket.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The socket cannot be made.
    #[error("{}: {why}; name another place with http.socket", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The address cannot be taken.
    #[error("cannot listen for HTTP at {address}: {why}; name another address with http.listen, or \"off\"")]
    Tcp {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
}

/// A Unix socket with its lock.
#[derive(Debug)]
pub(super) struct Unix {
    pub listener: UnixListener,
    pub path: PathBuf,
    /// Held until the process ends, or this is dropped.
    _lock: File,
}

impl Drop for Unix {
    fn drop(&mut self) {
        // The lock is still held, so this is no other node's socket. What cannot be removed is stale and will be replaced.
        let _ = fs::remove_file(&self.path);
    }
}

/// Sockets that are bound, and not served yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) tcp: Option<TcpListener>,
    pub(super) unix: Option<Unix>,
}

impl Bound {
    /// Binds.
    pub fn open(bind: &Bind) -> Result<Self, BindError> {
        let unix = bind.socket.as_deref().map(unix).transpose()?;
        let tcp = bind.tcp.map(|address| {
            let bound = TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            bound.map_err(|why| BindError::Tcp { address, why })
        });
        Ok(Bound { tcp: tcp.transpose()?, unix })
    }

    /// The TCP address, with the port that the system chose.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The Unix socket's path.
    pub fn socket(&self) -> Option<&Path> {
        self.unix.as_ref().map(|unix| unix.path.as_path())
    }
}

fn unix(path: &Path) -> Result<Unix, BindError> {
    let failed = |why| BindError::Socket { path: path.into(), why };
    if let Some(folder) = path.parent() {
        folder::prepare(folder)?;
    }
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(beside(".lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(BindError::Running(path.into())),
        Err(TryLockError::Error(why)) => return Err(failed(why)),
    }
    let new = beside(".new");
    if new.symlink_metadata().is_ok() {
        fs::remove_file(&new).map_err(failed)?;
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    Ok(Unix { listener, path: path.into(), _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn at(path: &Path) -> Bind {
        Bind { tcp: None, socket: Some(path.into()) }
    }

    #[test]
    fn a_second_node_is_refused_and_a_dead_one_s_socket_is_replaced() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let path = base.path().join("run/a.sock");
        let first = Bound::open(&at(&path)).expect("free");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let second = Bound::open(&at(&path)).expect_err("taken");
        assert!(second.to_string().contains("another node serves at"), "{second}");
        UnixStream::connect(&path).expect("the first one's socket is unharmed");
        drop(first);
        assert!(!path.exists(), "it goes with its node");

        drop(UnixListener::bind(&path).expect("what a node that was killed leaves behind"));
        assert!(path.exists() && UnixStream::connect(&path).is_err(), "a stale socket");
        let third = Bound::open(&at(&path)).expect("a stale socket is replaced");
        UnixStream::connect(third.socket().expect("bound")).expect("and answers");
    }

    #[test]
    fn a_port_that_is_taken_is_told_with_what_to_do() {
        let first =
            Bound::open(&Bind { tcp: Some(([127, 0, 0, 1], 0).into()), socket: None }).expect("any port");
        let taken = Bind { tcp: first.address(), socket: None };
        let error = Bound::open(&taken).expect_err("taken").to_string();
        assert!(error.contains("http.listen"), "{error}");
    }
}
