//! Processes in roles, their signs to each other as files, and what the system keeps of them.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The variable that says which role a process plays.
pub const ROLE: &str = "SYNOD_TEST_ROLE";

/// Longer than anything here takes: what hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A number that a variable asks for.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.replace('_', "").parse().ok())
}

/// The names in a folder.
pub fn listed(folder: &str) -> Vec<String> {
    let entries =
        fs::read_dir(folder).map(|entries| entries.flatten().collect()).unwrap_or_else(|_| Vec::new());
    let mut names: Vec<_> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Something true sooner or later.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Chance, from a seed that is told.
pub struct Chance {
    pub seed: u64,
    state: u64,
}

impl Chance {
    pub fn new() -> Self {
        let seed = number("SYNOD_SEED").unwrap_or_else(synod_platform::random::u64) | 1;
        Self { seed, state: seed }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % bound
    }
}

/// A folder with a node's socket, ledgers and signs.
pub struct World {
    folder: TempDir,
    test: &'static str,
    /// What the first node held before anybody attached.
    alone: OnceCell<Holds>,
}

impl World {
    pub fn new(test: &'static str) -> Self {
        Self { folder: TempDir::new().expect("a temporary folder"), test, alone: OnceCell::new() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder().join("node.attach")
    }

    /// Starts a process in a role.
    pub fn start(&self, role: &str, name: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "role", "--nocapture"]).stdin(Stdio::null()).stdout(Stdio::null());
        command.env(ROLE, role).env("SYNOD_TEST_NAME", name).env("SYNOD_TEST_FOLDER", self.folder());
        command.env("SYNOD_ATTACH", self.socket()).env("SYNOD_TEST_ARGUMENTS", arguments.join(" "));
        let child = command.spawn().expect("this binary starts again");
        Process { child, who: format!("{} of {}", name, self.test), own: Holds::default() }
    }

    /// Starts a node, which has its socket by then.
    pub fn node(&self) -> Process {
        let _ = fs::remove_file(self.folder().join("node.there"));
        let mut node = self.start("node", "node", &[]);
        self.wait_for("node.there");
        node.own = *self.alone.get_or_init(|| node.holds());
        node
    }

    pub fn tell(&self, sign: &str) {
        fs::write(self.folder().join(sign), "").expect("a sign");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder().join(name)).expect("it was written")
    }

    pub fn wait_for(&self, sign: &str) {
        let path = self.folder().join(sign);
        eventually(sign, || path.exists());
    }

    /// Waits until more is written into a file.
    pub fn grows(&self, name: &str) {
        let len = || fs::metadata(self.folder().join(name)).map_or(0, |found| found.len());
        let now = len();
        eventually(name, || len() > now);
    }
}

/// One of the processes. A test that fails leaves none behind.
pub struct Process {
    child: Child,
    who: String,
    /// What a node holds when nobody has attached.
    own: Holds,
}

/// What a process has open, and how much shared memory it has mapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holds {
    pub descriptors: usize,
    pub mappings: usize,
}

impl Holds {
    pub fn both(self) -> usize {
        self.descriptors + self.mappings
    }
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// It has not ended.
    pub fn lives(&mut self) {
        let ended = self.child.try_wait().expect("our own child");
        assert!(ended.is_none(), "{} ended: {ended:?}", self.who);
    }

    pub fn ends_well(&mut self) {
        let long = Duration::from_secs(number("SYNOD_MESSAGES").unwrap_or(0) / 5_000);
        let until = Instant::now() + PATIENCE + long;
        let ended = loop {
            match self.child.try_wait().expect("our own child") {
                Some(ended) => break ended,
                None => assert!(Instant::now() < until, "{} does not end", self.who),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(ended.success(), "{} failed", self.who);
    }

    /// The descriptors that it has open, and the shared memory that it has mapped.
    pub fn holds(&self) -> Holds {
        let descriptors = listed(&format!("/proc/{}/fd", self.child.id())).len();
        Holds { descriptors, mappings: self.shared_maps().len() }
    }

    /// Its mappings of our memory, each with where it lies and what may be done there.
    fn shared_maps(&self) -> Vec<String> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).expect("our own child");
        let ours = maps.lines().filter_map(|line| line.split_once(" 00000000 "));
        ours.filter(|(_, rest)| rest.contains("/memfd:synod")).map(|(place, _)| place.to_owned()).collect()
    }

    /// Comes to hold what it held before: nothing is left of others. What may be alive without its node is kept for ten seconds.
    pub fn comes_down_to(&self, before: Holds) {
        let until = Instant::now() + PATIENCE;
        while self.holds() != before {
            let (held, maps) = (self.holds(), self.shared_maps());
            assert!(
                Instant::now() < until,
                "{} holds {held:?}, and held {before:?} before; its shared memory: {maps:?}",
                self.who
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A node comes down to what it held when nobody had attached.
    pub fn forgets(&self) {
        self.comes_down_to(self.own);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
