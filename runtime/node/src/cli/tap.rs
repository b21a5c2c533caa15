//! `synod tap`: what others publish, as far as the node's policy opens it, by a process that attaches for that and holds up nobody.

use std::path::PathBuf;

use serde_json::json;
use synod_fabric::attach::{AttachOptions, DetachReason, Glimpse, attach};
use synod_platform::local::folder::{self, Purpose};
use synod_platform::process;
use synod_platform::signals::Signals;
use synod_platform::time::{self, Duration};

use super::arguments::TapOptions;
use super::pubsub::told;
use super::{Exit, Problem, client, text};

/// Messages of each priority and sending context that wait to be printed; what comes on top is lost.
const PLACES: usize = 1024;

/// How often is told what was lost.
const TELL: Duration = Duration::from_millis(200);

pub fn main(options: &TapOptions) -> Result<Exit, Problem> {
    synod_platform::task::block_on(async {
        let mut signals = Signals::listen().map_err(|error| Problem::failed(error.to_string()))?;
        let name = format!("synod-tap-{}", process::pid());
        let token = process::variable("SYNOD_TOKEN");
        let wanted = AttachOptions { token, ..AttachOptions::new(socket(options)?, &*name) };
        let attachment = attach(wanted).await.map_err(not_attached)?;
        let mut tap = attachment
            .tap(&name, &options.pattern, PLACES)
            .await
            .map_err(|error| Problem::failed(error.to_string()))?;
        eprintln!("taps {}; ends with SIGINT", options.pattern);
        let (mut seen, mut lost) = (0, 0);
        while options.count.is_none_or(|count| seen < count) {
            let shown = tokio::select! {
                biased;
                _ = signals.next() => return Ok(Exit::Cancelled),
                () = attachment.changed_to(false) => {
                    return Err(Problem::failed(format!("the node ended after {seen} messages")));
                }
                shown = tap.recv() => shown,
                () = time::sleep(TELL) => {
                    let now = tap.missed();
                    if now > lost {
                        tell_lost(options, now - lost)?;
                        lost = now;
                    }
                    continue;
                }
            };
            let Some(shown) = shown else { break };
            seen += 1;
            tell(options, &shown)?;
        }
        match tap.missed() - lost {
            0 => Ok(Exit::Fine),
            more => tell_lost(options, more),
        }
    })
}

/// The socket at which processes attach to the node.
fn socket(options: &TapOptions) -> Result<PathBuf, Problem> {
    if options.node.node.is_none()
        && let Some(path) = process::variable("SYNOD_ATTACH")
    {
        return Ok(process::absolute(path.as_ref()));
    }
    let named = client::named(&options.node);
    folder::to_ask(&named, Purpose::Attach).ok_or_else(|| {
        Problem::failed_with(
            format!("no node named `{named}` lets processes attach here"),
            "start one with `synod up`, or name its socket by SYNOD_ATTACH",
        )
    })
}

fn not_attached(why: DetachReason) -> Problem {
    Problem::failed_with(format!("cannot attach: {why}"), "`synod agents` tells whether the node is there")
}

fn tell(options: &TapOptions, shown: &Glimpse) -> Result<Exit, Problem> {
    let Glimpse { source, subject, priority, len, head } = shown;
    if options.json {
        let line = json!({ "source": source, "subject": subject, "priority": priority.name(), "length": len,
            "head": told(head) });
        return text::print(&format!("{line}\n"));
    }
    let (head, more) = (String::from_utf8_lossy(head), if *len > head.len() as u64 { "…" } else { "" });
    let head = head.escape_debug();
    text::print(&format!("{source} → {subject} {} {len} bytes: {head}{more}\n", priority.name()))
}

fn tell_lost(options: &TapOptions, lost: u64) -> Result<Exit, Problem> {
    match options.json {
        true => text::print(&format!("{}\n", json!({ "lost": lost }))),
        false => text::print(&format!("{lost} not shown: they came faster than they could be\n")),
    }
}
