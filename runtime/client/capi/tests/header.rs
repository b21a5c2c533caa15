//! `include/synod.h` is what cbindgen makes of the crate; SYNOD_BLESS=1 writes it anew.
#![cfg(not(madsim))]
#![expect(clippy::disallowed_methods, reason = "it compares and writes a file of the source tree")]

use std::path::Path;

#[test]
fn the_header_is_what_the_functions_say() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(home.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_src(home.join("src/lib.rs"))
        .with_config(config)
        .generate()
        .expect("a header")
        .write(&mut made);
    let path = home.join("include/synod.h");
    if synod_platform::process::variable("SYNOD_BLESS").is_some() {
        std::fs::write(&path, &made).expect("the header");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let made = String::from_utf8(made).expect("text");
    assert!(
        kept == made,
        "the header lags behind: SYNOD_BLESS=1 cargo test -p synod-capi --test header writes it"
    );
}
