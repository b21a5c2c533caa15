//! Refuses to compile when the build is not the one that was asked for.
//!
//! `cargo sim`, `cargo chaos` and `cargo loom` pass `--cfg madsim` or `--cfg loom` through `build.rustflags`. A RUSTFLAGS
//! in the environment replaces those flags, and the simulation would silently become a production build. The
//! aliases therefore also set EXPECT_CFG, which is compared here, in the crate that all others need.

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

const _: () = {
    let built = if cfg!(madsim) {
        "madsim"
    } else if cfg!(loom) {
        "loom"
    } else {
        "production"
    };
    if let Some(expected) = option_env!("EXPECT_CFG") {
        assert!(
            same(expected, built),
            "this command needs `--cfg madsim` or `--cfg loom`, and the environment's RUSTFLAGS replaced it: \
             unset RUSTFLAGS (and CARGO_ENCODED_RUSTFLAGS) and run the command again"
        );
    }
};
