//! What memory for long payloads shall be like, and what it stands on: the rungs of platform's ladder, as a process tells them to its node.

use serde::{Deserialize, Serialize};
use synod_platform::memory::dma::{self, Height};

/// The most rungs of a report, and the longest text of one, characters.
pub(crate) const RUNGS_MAX: usize = 16;
pub(crate) const TEXT_MAX: usize = 256;

/// What memory for long payloads shall be like. It is made when it is first needed, so that who sends nothing long pays for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadMemory {
    /// Taken page by page as it is touched.
    #[default]
    Plain,
    /// All there before the first touch: in huge pages if some are reserved, locked as far as the limit allows, on the NUMA node of the processor
    /// that its context is pinned to.
    Local,
    /// Beside that exported as a DMA buffer, and registered with CUDA where there is a GPU: the first of it waits until its driver has started.
    Device,
}

impl PayloadMemory {
    /// How far up the ladder that is.
    pub fn height(self) -> Height {
        match self {
            Self::Plain => Height::Plain,
            Self::Local => Height::Local,
            Self::Device => Height::Device,
        }
    }
}

/// A rung of the ladder under a process's memory for long payloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Its name, one of [`dma::RUNGS`].
    pub name: String,
    /// Whether the memory stands on it.
    pub held: bool,
    /// How it does, or why not.
    pub why: String,
}

impl From<&dma::Rung> for Rung {
    fn from(rung: &dma::Rung) -> Self {
        let why = rung.state.to_string().chars().take(TEXT_MAX).collect();
        Self { name: rung.name.to_owned(), held: matches!(rung.state, dma::State::Held(_)), why }
    }
}
