//! The bench on which tests are run: a scratch folder with a copy of the tree, a share of the time, and a jail for every call.
//!
//! Nothing but the scratch folder can be written from within, and it goes when the work ends, however it ends. What of the jail did not hold
//! on this machine, and what ran into its bounds, is remembered for the report.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_platform::files::{self, CopyLimits, FilesError, Scratch, WalkLimits};
use synod_platform::process::{Jail, Output, Tool};
use synod_platform::time::{self, Mono};
use synod_probe::reach;

use crate::shell::{Desk, WorkError};
use crate::testbed::case::Paths;
use crate::testbed::judge::Ran;
use crate::tree::{self, Tree};

/// The copy's name within the scratch folder.
const COPY: &str = "tree";
/// What is kept of each output of a call, in bytes.
const OUTPUT_MAX: usize = 16 << 20;
/// Memory, disk and processor time that tests may use: compilers are among them.
const MEMORY_MAX: u64 = 4 << 30;
const DISK_MAX: u64 = 6 << 30;
const CPU_MAX: Duration = Duration::from_secs(600);

/// A copy of the tree, and what is needed to run it.
#[derive(Debug)]
pub struct Bench<'a> {
    desk: &'a Desk,
    scratch: Scratch,
    root: String,
    known: BTreeSet<&'a str>,
    until: Cell<Mono>,
    gaps: RefCell<BTreeSet<String>>,
}

impl<'a> Bench<'a> {
    /// Copies the tree into a scratch folder beside the run folders, after removing what killed runs left there.
    pub async fn set_up(desk: &'a Desk, listed: &'a Tree) -> Result<(Self, Vec<String>), FilesError> {
        let run = Path::new(&desk.task().folder);
        let parent = run.parent().unwrap_or(run).join(".scratch");
        files::sweep_scratch(&parent).await?;
        let scratch = files::scratch(&parent).await?;
        let copy = scratch.path().join(COPY);
        let copied = files::copy_tree(Path::new(&desk.task().tree), &copy, CopyLimits::default()).await?;
        let mut warnings: Vec<String> = copied
            .left_out
            .iter()
            .take(5)
            .map(|(path, why)| format!("not in the copy that is tested: {} ({why})", path.display()))
            .collect();
        if copied.left_out.len() > 5 {
            warnings.push(format!("not in the copy that is tested: {} more", copied.left_out.len() - 5));
        }
        let bench = Bench {
            desk,
            root: copy.to_string_lossy().into_owned(),
            scratch,
            known: listed.paths(),
            until: Cell::new(time::now()),
            gaps: RefCell::default(),
        };
        Ok((bench, warnings))
    }

    /// Whose work this is.
    pub fn desk(&self) -> &Desk {
        self.desk
    }

    /// Maps paths that tools tell back to the tree's.
    pub fn paths(&self) -> Paths<'_> {
        Paths { root: &self.root, known: &self.known }
    }

    /// The absolute path in the copy of a path of the tree.
    pub fn inside(&self, path: &str) -> String {
        if path.is_empty() { self.root.clone() } else { format!("{}/{path}", self.root) }
    }

    /// A place in the scratch folder, outside of the copy.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Gives the calls that follow this much time together.
    pub fn share(&self, time: Duration) {
        self.until.set(time::now() + time);
    }

    /// What is left of that time.
    pub fn left(&self) -> Duration {
        self.until.get().since(time::now()).min(self.desk.left())
    }

    /// Reads a file of the copy, of at most `limit` bytes, without following links.
    pub async fn read(&self, path: &str, limit: u64) -> Option<String> {
        let relative = Path::new(COPY).join(path);
        let bytes = files::read_below(self.scratch.path(), &relative, limit).await.ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Removes a file of the copy; says whether it did.
    pub async fn remove(&self, path: &str) -> bool {
        self.is_own(tree::parent(path)).await && files::remove_file(self.inside(path).as_ref()).await.is_ok()
    }

    /// Whether a directory of the copy is still one: what ran there may have put a link in its place, or above it.
    async fn is_own(&self, directory: &str) -> bool {
        let (Ok(scratch), Ok(found)) = (
            files::canonical(self.scratch.path()).await,
            files::canonical(self.inside(directory).as_ref()).await,
        ) else {
            return false;
        };
        found == scratch.join(tree::join(COPY, directory))
    }

    /// Copies a directory that git ignores, such as installed packages, into the copy; says whether it is there now.
    pub async fn add_ignored(&self, path: &str) -> bool {
        let from = Path::new(&self.desk.task().tree).join(path);
        if !files::exists(&from).await.unwrap_or(false) {
            return false;
        }
        if files::exists(self.inside(path).as_ref()).await.unwrap_or(true) {
            return self.is_own(path).await;
        }
        if !self.is_own(tree::parent(path)).await {
            reach!("testbed.link-in-the-copy");
            return false;
        }
        let walk = WalkLimits { honour_ignores: false, ..WalkLimits::default() };
        let limits = CopyLimits { walk, ..CopyLimits::default() };
        files::copy_tree(&from, Path::new(&self.inside(path)), limits).await.is_ok()
    }

    /// The files of the copy, those that were made there among them, whose name ends in `extension`.
    pub async fn made(&self, extension: &str) -> Vec<String> {
        let limits = WalkLimits { honour_ignores: false, ..WalkLimits::default() };
        let Ok(walk) = files::walk(Path::new(&self.root), limits).await else { return Vec::new() };
        let paths = walk.entries.into_iter().filter_map(|entry| entry.path.to_str().map(str::to_string));
        paths.filter(|path| tree::extension(path) == extension).collect()
    }

    /// Runs a tool in the jail, for at most `limit` and what is left of the share. `readable` is what it may read besides the system. A
    /// call that cannot be made is told in `ran`, and gives nothing.
    pub async fn call(
        &self,
        ran: &mut Ran,
        tool: Tool,
        readable: &[PathBuf],
        limit: Duration,
    ) -> Result<Option<Output>, WorkError> {
        self.desk.breathe().await?;
        let limit = limit.min(self.left());
        if limit.is_zero() {
            return Ok(None);
        }
        let mut jail = readable.iter().fold(Jail::new(self.scratch.path()), |jail, path| jail.read(path));
        (jail.memory, jail.disk, jail.cpu) = (MEMORY_MAX, DISK_MAX, CPU_MAX);
        let tool = tool.jail(jail).time_limit(limit).output_limit(OUTPUT_MAX);
        let run = tokio::select! {
            biased;
            why = self.desk.given_up() => {
                reach!("testbed.given-up-in-a-call");
                return Err(why);
            }
            run = tool.run() => run,
        };
        match run {
            Ok(output) => {
                self.gaps.borrow_mut().extend(output.contained.gaps());
                for breach in &output.breaches {
                    ran.bounds.insert(breach.name().to_string());
                }
                Ok(Some(output))
            }
            Err(error) => {
                ran.warnings.push(format!("not run: {error}"));
                Ok(None)
            }
        }
    }

    /// What of the jail did not hold here.
    pub fn gaps(&self) -> Vec<String> {
        self.gaps.borrow().iter().cloned().collect()
    }

    /// Removes the scratch folder; says why if it cannot be.
    pub async fn clear(self) -> Option<String> {
        let path = self.scratch.path().display().to_string();
        self.scratch.remove().await.err().map(|error| format!("{path} is left: {error}"))
    }
}
