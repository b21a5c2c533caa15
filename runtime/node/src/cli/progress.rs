//! Progress on standard error: a bar for each agent on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use synod_agents::report::safe::visible;
use synod_agents::task::Progress;

/// Steps of a whole bar.
const WHOLE: u64 = 1000;

/// Tells progress as it comes.
#[derive(Debug)]
pub enum Teller {
    /// A terminal: bars that move.
    Bars {
        /// All of them.
        all: MultiProgress,
        /// One for each agent.
        bars: BTreeMap<String, ProgressBar>,
    },
    /// No terminal: a line when an agent has begun or is done.
    Lines {
        /// How far each agent was when it was last told of.
        told: BTreeMap<String, f32>,
    },
}

impl Teller {
    /// The one that fits standard error.
    pub fn new() -> Self {
        if std::io::stderr().is_terminal() {
            Teller::Bars { all: MultiProgress::new(), bars: BTreeMap::new() }
        } else {
            Teller::Lines { told: BTreeMap::new() }
        }
    }

    /// Tells.
    pub fn tell(&mut self, mut progress: Progress) {
        // It may name a file of the tree, and that name must not steer the terminal.
        progress.sentence = visible(&progress.sentence);
        match self {
            Teller::Bars { all, bars } => {
                let bar = bars.entry(progress.agent.clone()).or_insert_with(|| {
                    let style = ProgressStyle::with_template("{prefix:<21} {bar:24} {wide_msg}")
                        .unwrap_or_else(|_| ProgressStyle::default_bar());
                    let name = progress.agent.to_uppercase();
                    all.add(ProgressBar::new(WHOLE).with_style(style).with_prefix(name))
                });
                bar.set_position((progress.fraction * WHOLE as f32) as u64);
                bar.set_message(progress.sentence);
            }
            Teller::Lines { told } => {
                let last = told.get(&progress.agent).copied();
                let ends = progress.fraction >= 1.0 && last.is_none_or(|last| last < 1.0);
                if last.is_none() || ends {
                    eprintln!("{}: {}", progress.agent.to_uppercase(), progress.sentence);
                    told.insert(progress.agent, progress.fraction);
                }
            }
        }
    }

    /// Clears the bars, so that the result stands alone.
    pub fn end(self) {
        if let Teller::Bars { all, bars } = self {
            for bar in bars.values() {
                bar.finish_and_clear();
            }
            // A terminal that went away needs no clearing.
            let _ = all.clear();
        }
    }
}
