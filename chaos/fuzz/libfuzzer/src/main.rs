//! libFuzzer on one decoder, which `SYNOD_FUZZ` names: a binary for each would link the whole product anew for each.
#![no_main]

use std::sync::LazyLock;

use synod_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("SYNOD_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("SYNOD_FUZZ={name:?} is no decoder; set it to one of {}", names.join(", "));
        std::process::exit(2);
    })
});

libfuzzer_sys::fuzz_target!(init: { LazyLock::force(&TARGET); }, |bytes: &[u8]| (TARGET.run)(bytes));
