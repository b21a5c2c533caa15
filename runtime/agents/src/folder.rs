//! The run folder: `<run>/<agent>/<file>`, and `manifest.json` with the SHA-256 of every file but the journal.
//!
//! Files are written whole or not at all. Outputs are named relative to the run folder, so that it can be moved. The tree
//! under review is never written: the folder lies elsewhere, which whoever starts a run makes sure of.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use synod_platform::files::{self, FilesError, Kind, WalkLimits};

use crate::workflow::journal;

/// Largest file of a run folder that is read back, in bytes.
const READ_MAX: u64 = 256 << 20;

/// Why a file of the run folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It could not be read or written.
    #[error("run folder: {0}")]
    Files(#[from] FilesError),
    /// It does not have the form it should have.
    #[error("run folder: {path} has not the form it should have: {source}")]
    Form {
        /// Which file, relative to the run folder.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// One agent's view of a run folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
    agent: String,
}

/// One file in `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Path relative to the run folder.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

impl RunFolder {
    /// The folder of `agent` within the run folder `root`.
    pub fn of(root: impl Into<PathBuf>, agent: impl Into<String>) -> Self {
        RunFolder { root: root.into(), agent: agent.into() }
    }

    /// Writes a file into the agent's folder and gives its path relative to the run folder.
    pub async fn write(&self, name: &str, bytes: &[u8]) -> Result<String, FolderError> {
        let relative = format!("{}/{name}", self.agent);
        files::create_directories(&self.root.join(&self.agent)).await?;
        files::write(&self.root.join(&relative), bytes).await?;
        Ok(relative)
    }

    /// Writes `value` as JSON.
    pub async fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<String, FolderError> {
        let form = |source| FolderError::Form { path: format!("{}/{name}", self.agent), source };
        let mut text = serde_json::to_vec_pretty(value).map_err(form)?;
        text.push(b'\n');
        self.write(name, &text).await
    }

    /// Reads a file by its path relative to the run folder.
    pub async fn read(&self, relative: &str) -> Result<Vec<u8>, FolderError> {
        Ok(files::read_below(&self.root, Path::new(relative), READ_MAX).await?)
    }

    /// Reads a file of JSON by its path relative to the run folder.
    pub async fn read_json<T: DeserializeOwned>(&self, relative: &str) -> Result<T, FolderError> {
        let bytes = self.read(relative).await?;
        serde_json::from_slice(&bytes).map_err(|source| FolderError::Form { path: relative.into(), source })
    }

    /// Lists every file of the run folder with its SHA-256 in `manifest.json`.
    pub async fn write_manifest(&self) -> Result<(), FolderError> {
        let limits = WalkLimits { honour_ignores: false, ..WalkLimits::default() };
        let walk = files::walk(&self.root, limits).await?;
        let mut listed = Vec::new();
        for entry in walk.entries.iter().filter(|entry| entry.kind == Kind::File) {
            let path = entry.path.to_string_lossy().into_owned();
            // The journal grows until the run has ended, which is after this.
            if path == "manifest.json" || path == journal::FILE {
                continue;
            }
            let bytes = self.read(&path).await?;
            listed.push(Listed { path, bytes: bytes.len() as u64, sha256: sha256(&bytes) });
        }
        let form = |source| FolderError::Form { path: "manifest.json".into(), source };
        let mut text = serde_json::to_vec_pretty(&listed).map_err(form)?;
        text.push(b'\n');
        files::write(&self.root.join("manifest.json"), text).await?;
        Ok(())
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), known);
    }
}
