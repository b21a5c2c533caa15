//! The landlock rules of a jail, made before the fork; the child only puts them on.
//!
//! Rules name inodes, so they hold wherever those are mounted. What the child mounts itself it adds itself. A kernel without landlock gives no
//! fence, and the jail says so.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest interface that we know how to use: what it can fence is all that we ask for.
const NEWEST: ABI = ABI::V7;

/// Rules that the child puts on.
#[derive(Debug)]
pub(super) struct Fence {
    /// The rules for files and signals.
    pub(super) rules: OwnedFd,
    /// Rules that let nobody bind or connect TCP, if they were asked for and the kernel has them.
    pub(super) no_tcp: Option<OwnedFd>,
    /// The rights that a directory gets which may be written, as the kernel's bits.
    pub(super) write_rights: u64,
    /// The rights that a directory gets which may be read.
    pub(super) read_rights: u64,
    /// The kernel's version of the interface.
    pub(super) abi: i32,
}

/// Makes the rules. The error is for people.
pub(super) fn make(
    readable: &[PathBuf],
    writable: &[PathBuf],
    devices: &[&str],
    no_tcp: bool,
) -> Result<Fence, String> {
    let abi = version();
    if abi < 1 {
        return Err("the kernel has no landlock".to_owned());
    }
    let told = |error: RulesetError| format!("landlock: {error}");
    let known = ABI::from(abi.min(NEWEST as i32));
    let (read, write) = (AccessFs::from_read(known), AccessFs::from_all(known));
    let mut rules =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(write).map_err(told)?;
    let scope = Scope::from_all(known);
    if !scope.is_empty() {
        rules = rules.scope(scope).map_err(told)?;
    }
    let mut made = rules.create().map_err(told)?;
    let paths = readable.iter().map(|path| (path.as_path(), read));
    let paths = paths.chain(writable.iter().map(|path| (path.as_path(), write)));
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    for (path, rights) in paths.chain(devices.iter().map(|path| (Path::new(path), device))) {
        // What is not there needs no rule.
        let Ok(opened) = PathFd::new(path) else { continue };
        let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(known) };
        made = made.add_rule(PathBeneath::new(opened, rights)).map_err(told)?;
    }
    let rules = Option::<OwnedFd>::from(made).ok_or("the kernel has no landlock")?;
    let tcp = AccessNet::from_all(known);
    let no_tcp = if no_tcp && !tcp.is_empty() {
        let none = Ruleset::default().handle_access(tcp).and_then(Ruleset::create).map_err(told)?;
        Option::<OwnedFd>::from(none)
    } else {
        None
    };
    let bits = |rights: BitFlags<AccessFs>| rights.bits();
    Ok(Fence { rules, no_tcp, write_rights: bits(write), read_rights: bits(read), abi })
}

/// The kernel's version of the interface; below 1 when it has none.
fn version() -> i32 {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with a null attribute of size 0 and this flag, the call only asks for the version.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    i32::try_from(version).unwrap_or(0)
}
