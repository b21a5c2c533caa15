//! The same on a block device that fails: a file system that fills up, and a device that has no more to give than it promised, so that
//! writes of its blocks fail. Writes are refused meanwhile and taken again afterwards by the same process; then it is killed.
//!
//! The device is a loop device over a sparse file in a small tmpfs, mounted where nobody else sees it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use synod_platform::random::Rng;
use synod_platform::task;

use super::{FAILING, THREADS, Writers, check, number};

const INSIDE: &str = "SYNOD_TEST_DEVICE";
const MIB: u64 = 1 << 20;

/// Runs a program and answers what it says; why not, if it cannot be run or fails.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(arguments).output();
    match done {
        Err(error) => Err(format!("{program}: {error}")),
        Ok(done) if !done.status.success() => {
            Err(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim()))
        }
        Ok(done) => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
    }
}

/// A loop device reports a write as whole of which its file took the first part only (Linux 6.18): so it is given none that its file could take
/// in part.
fn one_block_at_a_time(device: &str) -> std::io::Result<()> {
    let name = device.trim_start_matches("/dev/");
    std::fs::write(format!("/sys/block/{name}/queue/max_sectors_kb"), "4")
}

struct Device {
    /// The small file system below.
    below: PathBuf,
    /// The file system on the device.
    mounted: PathBuf,
}

impl Device {
    fn make(folder: &Path) -> Result<Self, String> {
        let (below, mounted) = (folder.join("below"), folder.join("mounted"));
        std::fs::create_dir(&below).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        run("mount", &["-t", "tmpfs", "-o", "size=64m", "tmpfs", &text(&below)])?;
        let image = text(&below.join("image"));
        run("truncate", &["-s", "48M", &image])?;
        // No journal: it would end the file system at its first error.
        let options = ["-q", "-F", "-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0"];
        run("mkfs.ext4", &[&options[..], &[&image]].concat())?;
        run("mount", &["-o", "loop,errors=continue", &image, &text(&mounted)])?;
        run("fstrim", &[&text(&mounted)])?;
        let device = run("findmnt", &["-n", "-o", "SOURCE", &text(&mounted)])?;
        one_block_at_a_time(&device).map_err(|error| format!("short writes of {device}: {error}"))?;
        Ok(Self { below, mounted })
    }

    /// Takes all the space that the file system has.
    fn fill(&self) {
        let of = format!("of={}", self.mounted.join("ballast").display());
        // It ends when there is no more.
        drop(run("dd", &["if=/dev/zero", &of, "bs=64k", "oflag=direct"]));
    }

    /// The device can take no block that it does not hold already.
    fn exhaust(&self) {
        let refused = (0..100).find_map(|_| {
            let image = std::fs::metadata(self.below.join("image")).unwrap();
            // Refused if more came to be held meanwhile.
            self.resize(std::os::unix::fs::MetadataExt::blocks(&image) * 512).ok()
        });
        refused.expect("the device comes to rest");
    }

    fn resize(&self, bytes: u64) -> Result<(), String> {
        let options = format!("remount,size={bytes}");
        run("mount", &["-o", &options, &self.below.to_string_lossy()]).map(drop)
    }

    fn heal(&self) {
        self.resize(64 * MIB).unwrap();
        if let Err(error) = std::fs::remove_file(self.mounted.join("ballast")) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
        // The device holds what is used of it and no more, or it could not run short of blocks the next time.
        run("fstrim", &[&self.mounted.to_string_lossy()]).unwrap();
    }
}

/// Waits until more is counted than that.
fn more_than(count: &AtomicU64, before: u64, what: &str) {
    for _ in 0..3000 {
        if count.load(Ordering::Relaxed) > before {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}");
}

/// Kills processes on a device of this process's own.
fn storm(device: &Device, arm: &[&str], kills: u64, draw: &mut Rng) {
    let (mut ledger, mut refused) = (BTreeMap::new(), 0);
    let folder = device.mounted.join(arm.len().to_string());
    for kill in 0..kills {
        let writers = Writers::start(&folder, arm);
        more_than(&writers.acknowledged, 0, "nothing is acknowledged on a good device");
        std::thread::sleep(Duration::from_millis(draw.below(100)));
        if kill % 2 == 0 {
            device.fill()
        } else {
            device.exhaust()
        }
        more_than(&writers.refused, 0, "nothing is refused on a bad device");
        if draw.below(2) == 0 {
            device.heal();
            let before = writers.acknowledged.load(Ordering::Relaxed);
            more_than(
                &writers.acknowledged,
                before + 8,
                "nothing is acknowledged when the device is good again",
            );
        }
        std::thread::sleep(Duration::from_millis(draw.below(30)));
        refused += writers.refused.load(Ordering::Relaxed);
        writers.kill(&mut ledger);
        device.heal();
        let (path, acknowledged) = (folder.clone(), ledger.clone());
        task::block_on(async move { check(&path, &acknowledged).await });
    }
    let acknowledged: u64 = ledger.values().sum();
    println!("{arm:?}: {kills} kills, {acknowledged} acknowledged appends, {refused} refused");
}

/// What the test below runs where nobody else sees its mounts.
#[test]
fn inside() {
    let Ok(folder) = std::env::var(INSIDE) else { return };
    let device = match Device::make(Path::new(&folder)) {
        Ok(device) => device,
        Err(why) => return println!("unavailable: needs a loop device with ext4 on it ({why})"),
    };
    let mut draw = Rng::from_seed(number("SYNOD_SEED").unwrap_or(1));
    let kills = number("SYNOD_KILLS").unwrap_or(4);
    storm(&device, &[FAILING], kills, &mut draw);
    storm(&device, &[FAILING, THREADS], kills, &mut draw);
}

#[test]
fn what_was_acknowledged_outlives_kills_on_a_device_that_fills_up_and_fails() {
    if let Err(why) = run("unshare", &["--mount", "true"]) {
        return println!("unavailable: needs a mount namespace, so root ({why})");
    }
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "device::inside", "--nocapture"])
        .env(INSIDE, folder.path())
        .status()
        .unwrap();
    assert!(done.success());
}
