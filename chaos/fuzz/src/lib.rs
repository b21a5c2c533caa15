//! Every parser of foreign bytes, as a function of a byte slice that panics when the parser breaks its promise.
//!
//! A target asserts more than "no panic": that there is one encoding of what was read, that two ways of reading agree, that a
//! complaint points into the text. The committed inputs under `corpus/` run through their targets as plain tests; libFuzzer runs
//! the same functions from the workspace under `libfuzzer/`. Nothing here looks for inputs: that is the fuzzer's work.

pub mod agents;
pub mod architect;
pub mod cluster;
pub mod config;
pub mod docgen;
pub mod external;
pub mod fabric;
pub mod platform;
pub mod segment;
pub mod store;
pub mod testbed;
pub mod wire;

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, as its folder under `corpus/` and `SYNOD_FUZZ` have it.
    pub name: &'static str,
    /// Runs it on one input; panics on a broken promise.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "compact", run: wire::compact },
    Target { name: "full", run: wire::full },
    Target { name: "stream", run: wire::stream },
    Target { name: "extension", run: wire::extension },
    Target { name: "body", run: wire::body },
    Target { name: "crc", run: wire::crc },
    Target { name: "subject", run: fabric::subject },
    Target { name: "config", run: config::strict },
    Target { name: "units", run: config::units },
    Target { name: "node", run: config::node },
    Target { name: "scenario", run: config::scenario },
    Target { name: "secrets", run: agents::secrets },
    Target { name: "corpus_rules", run: agents::corpus_rules },
    Target { name: "locks", run: agents::locks },
    Target { name: "lint", run: agents::lint },
    Target { name: "tools", run: agents::tools },
    Target { name: "documents", run: docgen::documents },
    Target { name: "judges", run: docgen::judges },
    Target { name: "external", run: external::external },
    Target { name: "architecture", run: architect::architecture },
    Target { name: "hello", run: platform::hello },
    Target { name: "frames", run: platform::frames },
    Target { name: "runners", run: testbed::runners },
    Target { name: "append", run: platform::append },
    Target { name: "segment", run: segment::segment },
    Target { name: "attach", run: fabric::attach },
    Target { name: "spool", run: fabric::spool },
    Target { name: "streams", run: store::streams },
    Target { name: "consensus", run: cluster::consensus },
];
