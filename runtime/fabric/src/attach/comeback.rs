//! How processes that showed a token come back when the node was restarted: each has a secret, and the node keeps them in a file of its user's.
//!
//! A secret lets its process in, and one at a time, until that leaves or breaks a rule. Those of processes that do not come back are good for a
//! while after the node's start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_platform::files::{self, FilesError};
use synod_platform::time::{self, Mono};
use synod_probe::{event, reach};
use tokio::sync::Mutex;

/// How long a process may be away.
const GRACE: Duration = Duration::from_secs(600);

/// The longest file that is read.
const FILE_MAX: u64 = 1 << 20;

/// By secret, until when a process that is away may come back; nothing if it is there.
type Secrets = BTreeMap<String, Option<Mono>>;

/// The secrets of a node.
pub(super) struct Comebacks {
    path: PathBuf,
    secrets: Mutex<Secrets>,
}

impl Comebacks {
    /// Those that a former life of the node at this socket left.
    pub async fn of(socket: &Path) -> Self {
        let mut name = socket.as_os_str().to_owned();
        name.push(".comebacks");
        let path = PathBuf::from(name);
        let left = files::read(&path, FILE_MAX).await.unwrap_or_else(|why| {
            if !matches!(why, FilesError::NotFound { .. }) {
                event!("attach.comebacks_unread", why = &why.to_string());
            }
            Vec::new()
        });
        let until = time::now() + GRACE;
        let left = String::from_utf8_lossy(&left);
        let secrets = left.lines().map(|secret| (secret.to_owned(), Some(until))).collect();
        Self { path, secrets: Mutex::new(secrets) }
    }

    /// Whether somebody who shows this is let in: it is given to a process that is away.
    pub async fn admits(&self, shown: &str) -> bool {
        let secrets = self.secrets.lock().await;
        let admits = secrets.get(shown).is_some_and(|until| until.is_some_and(|until| time::now() < until));
        if admits {
            reach!("attach.came_back");
        }
        admits
    }

    /// The process that has this is there; the file says so when this returns.
    pub async fn keep(&self, secret: &str) {
        let is_there = |secrets: &mut Secrets| {
            secrets.insert(secret.to_owned(), None);
        };
        self.change(is_there).await;
    }

    /// It is away, and may come back.
    pub async fn rest(&self, secret: &str) {
        self.secrets.lock().await.insert(secret.to_owned(), Some(time::now() + GRACE));
    }

    /// It does not come back.
    pub async fn forget(&self, secret: &str) {
        let is_gone = |secrets: &mut Secrets| {
            secrets.remove(secret);
        };
        self.change(is_gone).await;
    }

    /// Changes what is kept, and writes it down under the lock, so that the newest stays.
    async fn change(&self, change: impl FnOnce(&mut Secrets)) {
        let mut secrets = self.secrets.lock().await;
        change(&mut secrets);
        secrets.retain(|_, until| until.is_none_or(|until| time::now() < until));
        let text: String = secrets.keys().flat_map(|secret| [secret, "\n"]).collect();
        let written = async {
            if let Some(folder) = self.path.parent() {
                files::create_directories(folder).await?;
            }
            files::write_secret(&self.path, text).await
        };
        if let Err(why) = written.await {
            // After a restart its processes need tokens.
            event!("attach.comebacks_unwritten", why = &why.to_string());
        }
    }
}
