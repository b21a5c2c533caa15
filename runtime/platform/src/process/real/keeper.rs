//! The child's side of a jail: what happens between the fork and the tool's first instruction.
//!
//! Three processes stand in a row. The **keeper** (the child that the caller waits for) makes the namespaces; the **first** is number 1 in
//! them, builds the file tree, reaps orphans and tells how the tool ended; the **tool** gives up what it may not have and becomes the program.
//! If the caller dies, the keeper dies; with it the first; and with that all that is in its namespace.
//!
//! The caller has threads, so until the program runs only system calls are made here, on memory that was filled before the fork: no lock, no
//! allocation, no panic. A step that the kernel refuses is told through a pipe and left out; only the tool's own end is the caller's error.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{c_int, c_ulong, c_void};

use super::fence::Fence;
use super::layout::{Show, Step};

/// What a record of the pipe speaks of. Its value is 0 or the system's error number, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(super) enum Word {
    /// Joining the control groups.
    Cgroup = 1,
    /// A user namespace, where the rights of this process do not do without.
    UserNamespace,
    /// A namespace of process numbers.
    PidNamespace,
    /// A network namespace.
    NetNamespace,
    /// A mount namespace.
    MountNamespace,
    /// A file tree of its own.
    Root,
    /// Limits.
    Limits,
    /// No capabilities.
    Capabilities,
    /// No new privileges.
    NoNewPrivileges,
    /// Landlock.
    Fence,
    /// Landlock against TCP, where there is no network namespace.
    NoTcp,
    /// The number of the first process, as the caller sees it.
    First,
    /// The tool left processes behind.
    Left,
    /// The tool ended with this status, as `wait` gives it.
    Ended,
}

impl Word {
    const ALL: [Self; 14] = [
        Self::Cgroup,
        Self::UserNamespace,
        Self::PidNamespace,
        Self::NetNamespace,
        Self::MountNamespace,
        Self::Root,
        Self::Limits,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Fence,
        Self::NoTcp,
        Self::First,
        Self::Left,
        Self::Ended,
    ];
}

/// Bytes of a record.
pub(super) const RECORD: usize = 8;

/// The record in these bytes.
pub(super) fn parse(record: [u8; RECORD]) -> Option<(Word, i32)> {
    let [a, b, c, d, e, f, g, h] = record;
    let (word, value) = (u32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
    Word::ALL.into_iter().find(|known| *known as u32 == word).map(|word| (word, value))
}

/// All that the child needs, made before the fork.
#[derive(Debug)]
pub(super) struct Orders {
    /// The caller's process.
    pub(super) parent: i32,
    /// Where records are written.
    pub(super) report: OwnedFd,
    /// The control groups' doors.
    pub(super) doors: Vec<OwnedFd>,
    /// The maps of a user namespace: users, groups.
    pub(super) maps: [CString; 2],
    /// Whether the network stays as it is.
    pub(super) network: bool,
    /// The new root.
    pub(super) layout: Vec<Step>,
    /// The options of file systems in memory: their size.
    pub(super) memory_files: CString,
    /// The tool's working directory.
    pub(super) directory: CString,
    /// Resources, soft and hard limit.
    pub(super) limits: Vec<(c_int, u64, u64)>,
    /// The bound on processes, used where it counts those of the jail alone.
    pub(super) processes: u64,
    /// The bound used where it counts all of this user's; none for the superuser, whom it does not bind.
    pub(super) processes_of_user: Option<u64>,
    /// The landlock rules.
    pub(super) fence: Option<Fence>,
}

/// The namespaces that there are.
#[derive(Clone, Copy, Debug)]
struct Has {
    user: bool,
    pids: bool,
    net: bool,
    mounts: bool,
}

type Result<T> = std::result::Result<T, c_int>;

/// Makes a result of what a system call returned.
fn told(returned: impl Into<i64>) -> Result<i64> {
    match returned.into() {
        -1 => Err(errno()),
        value => Ok(value),
    }
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn exit(status: c_int) -> ! {
    // SAFETY: ends this process at once; no destructor or handler of the caller's copy runs.
    unsafe { libc::_exit(status) }
}

impl Orders {
    /// Called in the forked child. Returns in the process that becomes the tool; the two others never return.
    pub(super) fn carry_out(&self) -> io::Result<()> {
        self.keeper().map_err(io::Error::from_raw_os_error)
    }

    fn say(&self, word: Word, value: c_int) {
        let mut record = [0u8; RECORD];
        let (head, tail) = record.split_at_mut(4);
        head.copy_from_slice(&(word as u32).to_ne_bytes());
        tail.copy_from_slice(&value.to_ne_bytes());
        // SAFETY: the buffer is RECORD bytes, and the descriptor stays open in this process.
        // If nobody reads any more, the caller is gone, and we are about to be.
        let _ = unsafe { libc::write(self.report.as_raw_fd(), record.as_ptr().cast::<c_void>(), RECORD) };
    }

    /// Says how a step went, and gives whether it went well.
    fn tell(&self, word: Word, outcome: Result<()>) -> bool {
        self.say(word, outcome.err().unwrap_or(0));
        outcome.is_ok()
    }

    fn keeper(&self) -> Result<()> {
        die_with_parent()?;
        // SAFETY: asks for a number.
        if unsafe { libc::getppid() } != self.parent {
            exit(1);
        }
        be_modest();
        if !self.doors.is_empty() {
            self.tell(Word::Cgroup, self.doors.iter().try_for_each(|door| write(door.as_raw_fd(), b"0")));
        }
        let user = self.enter_user_namespace_if_needed();
        let pids = self.tell(Word::PidNamespace, unshare(libc::CLONE_NEWPID));
        let mut net = false;
        if !self.network {
            let separate = unshare(libc::CLONE_NEWNET);
            if separate.is_ok() {
                // Without it, tests that talk to themselves would fail; that is no gap in the jail.
                let _ = raise_loopback();
            }
            net = self.tell(Word::NetNamespace, separate);
        }
        let mounts = self.tell(Word::MountNamespace, unshare(libc::CLONE_NEWNS));
        if !pids {
            adopt_orphans()?;
        }
        let mut leash = [0; 2];
        // SAFETY: the array has room for two descriptors.
        told(unsafe { libc::pipe2(leash.as_mut_ptr(), libc::O_CLOEXEC) })?;
        let [leash_end, leash_held] = leash;
        let first = fork()?;
        if first == 0 {
            // SAFETY: ours, and used by nobody else.
            unsafe { libc::close(leash_held) };
            return self.first(leash_end, Has { user, pids, net, mounts });
        }
        self.say(Word::First, first);
        // Whatever the caller has open must not stay open because of us; the leash goes with us, later.
        keep_only(leash_held);
        loop {
            let mut status = 0;
            // SAFETY: the status is a place for one integer.
            let waited = unsafe { libc::waitpid(first, &raw mut status, libc::__WALL) };
            if waited == first || (waited == -1 && errno() != libc::EINTR) {
                exit(0);
            }
        }
    }

    /// Whoever may make the others without, does; a user namespace is for those who may not. Says whether there is one.
    fn enter_user_namespace_if_needed(&self) -> bool {
        // Any would do to ask. This one is wanted too: System V memory outlives its makers.
        if unshare(libc::CLONE_NEWIPC).is_ok() {
            return false;
        }
        let entered = unshare(libc::CLONE_NEWUSER).and_then(|()| {
            let [users, groups] = &self.maps;
            write_file(c"/proc/self/setgroups", b"deny")?;
            write_file(c"/proc/self/uid_map", users.to_bytes())?;
            write_file(c"/proc/self/gid_map", groups.to_bytes())
        });
        // What it would hold is bounded by the memory all the same.
        let _ = unshare(libc::CLONE_NEWIPC);
        self.tell(Word::UserNamespace, entered)
    }

    fn first(&self, leash: c_int, has: Has) -> Result<()> {
        die_with_parent()?;
        // If the keeper was gone before that, nothing tells us; but then its end of the leash is closed.
        let mut poll = libc::pollfd { fd: leash, events: 0, revents: 0 };
        // SAFETY: one descriptor to look at, and no waiting.
        unsafe { libc::poll(&raw mut poll, 1, 0) };
        if poll.revents != 0 {
            exit(1);
        }
        if !has.pids {
            adopt_orphans()?;
        }
        let has_root = has.mounts && self.tell(Word::Root, self.new_root()?);
        let tool = fork()?;
        if tool == 0 {
            return self.tool(has, has_root);
        }
        keep_only(self.report.as_raw_fd());
        loop {
            let mut status = 0;
            // SAFETY: the status is a place for one integer. With __WALL every child is waited for.
            let waited = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            if waited == tool {
                if others_live() {
                    self.say(Word::Left, 0);
                }
                self.say(Word::Ended, status);
                if has.pids {
                    // The kernel kills all that is left in the namespace.
                    exit(0);
                }
            } else if waited == -1 && errno() != libc::EINTR {
                exit(0);
            }
        }
    }

    /// Moves into a file tree of our own. The inner error: it could not be begun, and all is as before. The outer one: it broke off half-way.
    fn new_root(&self) -> Result<Result<()>> {
        let begun = can_restrict()
            .and_then(|()| mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None))
            .and_then(|()| memory_mount(c"/tmp", 0, c"mode=0755"));
        if let Err(error) = begun {
            return Ok(Err(error));
        }
        let moved = directory(c"/tmp/old")
            .and_then(|()| directory(c"/tmp/new"))
            .and_then(|()| change_to(c"/tmp"))
            .and_then(|()| pivot(c"/tmp", c"/tmp/old"));
        if let Err(error) = moved {
            // A root from which one cannot move away, such as an initial RAM disk.
            unmount(c"/tmp")?;
            change_to(&self.directory)?;
            return Ok(Err(error));
        }
        self.furnish()?;
        Ok(Ok(()))
    }

    fn furnish(&self) -> Result<()> {
        change_to(c"/")?;
        memory_mount(c"/new", 0, c"mode=0755")?;
        for path in [c"/new/dev", c"/new/dev/shm", c"/new/proc", c"/new/tmp"] {
            directory(path)?;
        }
        // Before the rest, some of which may lie below /tmp.
        memory_mount(c"/new/tmp", 0, &self.memory_files)?;
        memory_mount(c"/new/dev/shm", libc::MS_NOEXEC, &self.memory_files)?;
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
        // A new one cannot be had where the container hides parts of the old one.
        if mount(Some(c"proc"), c"/new/proc", Some(c"proc"), flags, None).is_err() {
            mount(Some(c"/old/proc"), c"/new/proc", None, libc::MS_BIND | libc::MS_REC, None)?;
            restrict(c"/new/proc", READ_ONLY | NO_SET_USER_ID, libc::AT_RECURSIVE)?;
        }
        for step in &self.layout {
            match step {
                Step::Directory(path) => directory(path)?,
                Step::File(path) => touch(path)?,
                Step::Link { text, at } => link(text, at)?,
                Step::Bind { from, at, show } => {
                    mount(Some(from), at, None, libc::MS_BIND | libc::MS_REC, None)?;
                    let attributes = match show {
                        Show::Readable => READ_ONLY | NO_SET_USER_ID,
                        Show::Writable => NO_DEVICES | NO_SET_USER_ID,
                        Show::Device => NO_SET_USER_ID,
                    };
                    restrict(at, attributes, libc::AT_RECURSIVE)?;
                }
            }
        }
        change_to(c"/new")?;
        // Puts the old root on top of the new one, where it is taken off at once.
        pivot(c".", c".")?;
        unmount(c".")?;
        restrict(c"/", READ_ONLY, 0)?;
        change_to(&self.directory)
    }

    fn tool(&self, has: Has, has_root: bool) -> Result<()> {
        die_with_parent()?;
        // SAFETY: no memory is involved. Its own session, so that signals to its group reach none of us.
        told(unsafe { libc::setsid() })?;
        let limits = self.limits.iter().try_for_each(|(resource, soft, hard)| limit(*resource, *soft, *hard));
        let processes = if has.user { Some(self.processes) } else { self.processes_of_user };
        let limits = limits.and_then(|()| match processes {
            Some(most) => limit(libc::RLIMIT_NPROC as c_int, most, most),
            None => Ok(()),
        });
        self.tell(Word::Limits, limits);
        self.tell(Word::Capabilities, drop_capabilities());
        // SAFETY: takes numbers alone.
        let no_new = told(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) });
        self.tell(Word::NoNewPrivileges, no_new.map(drop));
        if let Some(fence) = &self.fence {
            self.tell(Word::Fence, put_on(fence, has_root));
            if !self.network
                && !has.net
                && let Some(no_tcp) = &fence.no_tcp
            {
                self.tell(Word::NoTcp, restrict_self(no_tcp.as_raw_fd()));
            }
        }
        Ok(())
    }
}

fn die_with_parent() -> Result<()> {
    // SAFETY: takes numbers alone.
    told(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
}

fn adopt_orphans() -> Result<()> {
    // SAFETY: takes numbers alone.
    told(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// A foreign tree waits for everybody else, is the first to go when memory is short, and keeps no files from their owner. Nothing of this is promised.
fn be_modest() {
    const BEST_EFFORT_LAST: c_int = (2 << 13) | 7;
    let _ = write_file(c"/proc/self/oom_score_adj", b"1000");
    // SAFETY: the name ends in 0 and is copied; the other calls take numbers alone.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"synod-jail".as_ptr());
        libc::setpriority(libc::PRIO_PROCESS, 0, 5);
        libc::syscall(libc::SYS_ioprio_set, 1, 0, BEST_EFFORT_LAST);
        libc::umask(0o022);
    }
}

fn unshare(what: c_int) -> Result<()> {
    // SAFETY: changes this process's own view; the child has one thread.
    told(unsafe { libc::unshare(what) }).map(drop)
}

/// The bare system call: what else the library does at a fork takes locks that another thread of the caller may have held.
fn fork() -> Result<c_int> {
    // SAFETY: without flags for shared memory the child gets a copy of everything and goes on from here, as after `fork`. The library's record of
    // its thread number is stale in it; nothing called here looks at that.
    let pid = told(unsafe {
        libc::syscall(libc::SYS_clone, libc::SIGCHLD as c_ulong, 0usize, 0usize, 0usize, 0usize)
    })?;
    Ok(pid as c_int)
}

/// Whether a child lives; those that have ended are reaped.
fn others_live() -> bool {
    loop {
        let mut status = 0;
        // SAFETY: the status is a place for one integer.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) } {
            0 => return true,
            -1 => return false,
            _ => {}
        }
    }
}

/// Closes every descriptor but one.
fn keep_only(kept: c_int) {
    let close = |from: c_int, to: c_int| {
        if from <= to {
            // SAFETY: nothing in this process uses a descriptor any more but the one kept.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    };
    close(0, kept - 1);
    close(kept + 1, c_int::MAX);
}

fn write(to: c_int, bytes: &[u8]) -> Result<()> {
    // SAFETY: the bytes are as many as said.
    told(unsafe { libc::write(to, bytes.as_ptr().cast::<c_void>(), bytes.len()) } as i64).map(drop)
}

fn write_file(path: &CStr, bytes: &[u8]) -> Result<()> {
    // SAFETY: a string that ends in 0.
    let file = told(unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })? as c_int;
    let written = write(file, bytes);
    // SAFETY: ours.
    unsafe { libc::close(file) };
    written
}

/// Switches the namespace's own loopback interface on.
fn raise_loopback() -> Result<()> {
    // SAFETY: takes numbers alone.
    let socket =
        told(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })? as c_int;
    // SAFETY: a plain structure of numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is what this number expects.
    let raised = told(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw const request) });
    // SAFETY: ours.
    unsafe { libc::close(socket) };
    raised.map(drop)
}

fn mount(
    from: Option<&CStr>,
    at: &CStr,
    kind: Option<&CStr>,
    flags: c_ulong,
    options: Option<&CStr>,
) -> Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: strings that end in 0, or null where the call allows it.
    told(unsafe {
        libc::mount(pointer(from), at.as_ptr(), pointer(kind), flags, pointer(options).cast::<c_void>())
    })
    .map(drop)
}

/// An empty file system in memory.
fn memory_mount(at: &CStr, flags: c_ulong, options: &CStr) -> Result<()> {
    mount(Some(c"tmpfs"), at, Some(c"tmpfs"), flags | libc::MS_NOSUID | libc::MS_NODEV, Some(options))
}

fn unmount(at: &CStr) -> Result<()> {
    // SAFETY: a string that ends in 0.
    told(unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

fn pivot(new: &CStr, old: &CStr) -> Result<()> {
    // SAFETY: two strings that end in 0.
    told(unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) }).map(drop)
}

fn change_to(path: &CStr) -> Result<()> {
    // SAFETY: a string that ends in 0.
    told(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

fn unless_there(made: Result<i64>) -> Result<()> {
    match made {
        Ok(_) | Err(libc::EEXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

fn directory(path: &CStr) -> Result<()> {
    // SAFETY: a string that ends in 0.
    unless_there(told(unsafe { libc::mkdir(path.as_ptr(), 0o755) }))
}

fn touch(path: &CStr) -> Result<()> {
    // SAFETY: a string that ends in 0.
    unless_there(told(unsafe { libc::mknod(path.as_ptr(), libc::S_IFREG | 0o644, 0) }))
}

fn link(text: &CStr, at: &CStr) -> Result<()> {
    // SAFETY: two strings that end in 0.
    unless_there(told(unsafe { libc::symlink(text.as_ptr(), at.as_ptr()) }))
}

const READ_ONLY: u64 = 0x1;
const NO_SET_USER_ID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;

/// `mount_setattr`: sets these attributes on a mount, with `AT_RECURSIVE` on all below it too.
fn restrict(at: &CStr, attributes: u64, flags: c_int) -> Result<()> {
    // Set, clear, propagation, user namespace: as the kernel has them.
    let wanted = [attributes, 0u64, 0, 0];
    let size = std::mem::size_of_val(&wanted);
    // SAFETY: the structure is as long as said, the path ends in 0.
    told(unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, at.as_ptr(), flags, wanted.as_ptr(), size)
    })
    .map(drop)
}

/// Whether the kernel has `mount_setattr`: asked in a way that can only fail.
fn can_restrict() -> Result<()> {
    match restrict(c"", 0, 0) {
        Err(libc::ENOSYS | libc::EPERM) => Err(libc::ENOSYS),
        _ => Ok(()),
    }
}

fn limit(resource: c_int, soft: u64, hard: u64) -> Result<()> {
    let wanted = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: a structure of two numbers, read by the call; process 0 is this one; the old values are not asked for.
    told(unsafe { libc::prlimit64(0, resource as _, &raw const wanted, std::ptr::null_mut()) }).map(drop)
}

/// Gives up every capability, and the way by which the superuser's programs get them anew.
fn drop_capabilities() -> Result<()> {
    // No root, no fix-up of user changes, no keeping, no ambient ones; each locked.
    const SECURE_BITS: c_ulong = 0b1110_1111;
    const VERSION_3: u32 = 0x2008_0522;
    for capability in 0..64 as c_ulong {
        // SAFETY: takes numbers alone. One that the kernel does not know, or may not be dropped without rights, is an error that harms nobody.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // SAFETY: takes numbers alone.
    let locked = told(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECURE_BITS, 0, 0, 0) });
    let header = [VERSION_3, 0u32];
    let none = [0u32; 6];
    // SAFETY: the header names version 3, which reads two sets of three numbers.
    told(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) })?;
    // SAFETY: asks for a number.
    let is_superuser = unsafe { libc::geteuid() } == 0;
    if is_superuser { locked.map(drop) } else { Ok(()) }
}

/// Puts the landlock rules on this process and its descendants.
fn put_on(fence: &Fence, has_root: bool) -> Result<()> {
    let rules = fence.rules.as_raw_fd();
    if has_root {
        // Mounted after the rules were made, so those do not know them.
        const LIST_DIRECTORIES: u64 = 1 << 3;
        let own = [
            (c"/proc", fence.read_rights),
            (c"/tmp", fence.write_rights),
            (c"/dev/shm", fence.write_rights),
            // Names alone, of what is shown: tools list the root to find out where they are.
            (c"/", LIST_DIRECTORIES),
        ];
        for (path, rights) in own {
            allow(rules, path, rights)?;
        }
    }
    restrict_self(rules)
}

fn restrict_self(rules: c_int) -> Result<()> {
    // SAFETY: takes numbers alone.
    told(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) }).map(drop)
}

fn allow(rules: c_int, path: &CStr, rights: u64) -> Result<()> {
    #[repr(C, packed)]
    struct PathBeneath {
        rights: u64,
        directory: i32,
    }
    const PATH_BENEATH: c_int = 1;
    // SAFETY: a string that ends in 0.
    let directory = told(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) })? as c_int;
    let rule = PathBeneath { rights, directory };
    // SAFETY: the structure is the one that this kind of rule has.
    let added =
        told(unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules, PATH_BENEATH, &raw const rule, 0) });
    // SAFETY: ours.
    unsafe { libc::close(directory) };
    added.map(drop)
}
