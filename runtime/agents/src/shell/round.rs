//! A round through the files of a tree, in the share of a task's time that reading may take: what was read until then is worked on.

use super::{Desk, WorkError};
use crate::tree::{Entry, Kind, Tree};

/// Entries between two words on how far the round is.
const TELL: usize = 128;

/// The files of a tree that are wanted, one after the other.
pub struct Round<'a, W> {
    desk: &'a Desk,
    entries: &'a [Entry],
    share: f32,
    does: &'static str,
    wants: W,
    at: usize,
    cut: Option<String>,
}

impl Desk {
    /// A round through the files of `tree` that `wants` says are wanted, until `share` of the task's time is gone; `does` says in a word
    /// what is done with them.
    pub fn round<'a, W: Fn(&Entry) -> bool>(
        &'a self,
        tree: &'a Tree,
        share: f32,
        does: &'static str,
        wants: W,
    ) -> Round<'a, W> {
        Round { desk: self, entries: &tree.entries, share, does, wants, at: 0, cut: None }
    }
}

impl<'a, W: Fn(&Entry) -> bool> Round<'a, W> {
    /// The next file, after a breath; none when all were there or the time is up.
    pub async fn next(&mut self) -> Result<Option<&'a Entry>, WorkError> {
        while let Some(entry) = self.entries.get(self.at) {
            self.cut = self.desk.cut(self.share, self.at, self.entries.len());
            if self.cut.is_some() {
                break;
            }
            if self.at.is_multiple_of(TELL) {
                let part = self.at as f32 / self.entries.len() as f32;
                self.desk.progress(self.share * part, format!("{} {}", self.does, entry.path));
            }
            self.at += 1;
            if entry.kind == Kind::File && (self.wants)(entry) {
                self.desk.breathe().await?;
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The warning that tells how far the round came, if the time was up before its end.
    pub fn cut(self) -> Option<String> {
        self.cut
    }
}
