//! Locked crates held against a local database of advisories in RustSec's form.
//!
//! A database is a folder with `crates/<package>/<id>.md`, each file opening with a TOML block between fences. Pure: fed the texts of a lock
//! file and of advisories. Nothing is fetched; an advisory that was withdrawn, or whose versions cannot be read, says nothing.

use semver::{Version, VersionReq};
use serde::Deserialize;

use crate::finding::{Finding, Place, Severity};

/// A crate from a registry as a lock file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The line of its name in the lock file.
    pub line: u32,
}

/// The crates in a `Cargo.lock`, without those of the tree itself.
pub fn locked(lock: &str) -> Vec<Locked> {
    #[derive(Deserialize)]
    struct Lock {
        #[serde(default)]
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        source: Option<String>,
    }
    let Ok(read) = toml::from_str::<Lock>(lock) else { return Vec::new() };
    let named: Vec<(u32, &str)> =
        (1u32..).zip(lock.lines()).filter_map(|(n, line)| Some((n, line.strip_prefix("name = ")?))).collect();
    let mut lines = named.into_iter();
    let with_line = |package: Package| {
        let line = lines.next().map_or(1, |(line, _)| line);
        package.source.map(|_| Locked { name: package.name, version: package.version, line })
    };
    read.package.into_iter().filter_map(with_line).collect()
}

/// One advisory.
#[derive(Debug, Clone)]
pub struct Advisory {
    id: String,
    package: String,
    title: String,
    informational: Option<String>,
    /// Versions that are mended, or were never touched.
    safe: Vec<VersionReq>,
}

impl Advisory {
    /// Reads an advisory; none if it was withdrawn or does not have the form.
    pub fn read(text: &str) -> Option<Advisory> {
        #[derive(Deserialize)]
        struct File {
            advisory: Head,
            versions: Versions,
        }
        #[derive(Deserialize)]
        struct Head {
            id: String,
            package: String,
            informational: Option<String>,
            withdrawn: Option<toml::Value>,
        }
        #[derive(Deserialize)]
        struct Versions {
            #[serde(default)]
            patched: Vec<String>,
            #[serde(default)]
            unaffected: Vec<String>,
        }
        let (_, rest) = text.split_once("```toml")?;
        let (head, body) = rest.split_once("\n```")?;
        let file: File = toml::from_str(head).ok()?;
        if file.advisory.withdrawn.is_some() {
            return None;
        }
        let requirements = file.versions.patched.iter().chain(&file.versions.unaffected);
        let safe = requirements.map(|one| VersionReq::parse(one)).collect::<Result<_, _>>().ok()?;
        let title =
            body.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("no title").trim().to_string();
        let Head { id, package, informational, .. } = file.advisory;
        Some(Advisory { id, package, title, informational, safe })
    }

    /// Whether it speaks of this crate in this version. A version that is none counts as untouched.
    pub fn concerns(&self, locked: &Locked) -> bool {
        let Ok(version) = Version::parse(&locked.version) else { return false };
        // A requirement matches a pre-release only if it names one; its release decides for it.
        let release = Version::new(version.major, version.minor, version.patch);
        self.package == locked.name
            && !self.safe.iter().any(|safe| safe.matches(&version) || safe.matches(&release))
    }

    /// The finding for a crate of the lock file `path`.
    pub fn finding(&self, path: &str, locked: &Locked) -> Finding {
        let severity = match self.informational.as_deref() {
            None => Severity::High,
            Some("unsound") => Severity::Medium,
            Some("notice") => Severity::Info,
            Some(_) => Severity::Low,
        };
        let mended = self.safe.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        Finding::new(
            format!("advisory.{}", self.id),
            severity,
            Place::line(path, locked.line),
            format!("{} {}: {}", locked.name, locked.version, self.title),
            if mended.is_empty() {
                "no version is mended: use another crate".into()
            } else {
                format!("use a version {mended}")
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"weak\"\nversion = \"1.2.3\"\nsource = \"registry+https://x\"\n";

    fn advisory(more: &str, versions: &str) -> String {
        format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2020-0001\"\npackage = \"weak\"\ndate = \"2020-01-01\"\n{more}\n[versions]\n{versions}\n```\n\n# It breaks\n\nBadly.\n"
        )
    }

    fn concerned(more: &str, versions: &str) -> Vec<Finding> {
        let Some(advisory) = Advisory::read(&advisory(more, versions)) else { return Vec::new() };
        locked(LOCK)
            .iter()
            .filter(|one| advisory.concerns(one))
            .map(|one| advisory.finding("Cargo.lock", one))
            .collect()
    }

    #[test]
    fn a_weak_crate_is_told_at_its_line_with_what_mends_it() {
        let findings = concerned("", "patched = [\">= 1.2.4\"]\nunaffected = [\"< 1.0.0\"]");
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].place.to_string().as_str(), findings[0].severity),
            ("Cargo.lock:8", Severity::High)
        );
        assert_eq!(findings[0].rule, "advisory.RUSTSEC-2020-0001");
        assert!(
            findings[0].message.contains("weak 1.2.3: It breaks") && findings[0].advice.contains(">=1.2.4")
        );
        assert_eq!(concerned("informational = \"unmaintained\"", "")[0].severity, Severity::Low);
    }

    #[test]
    fn a_mended_untouched_or_withdrawn_one_is_not() {
        assert!(concerned("", "patched = [\"^1.2.3\"]").is_empty());
        assert!(concerned("", "unaffected = [\"< 2\"]").is_empty());
        assert!(concerned("withdrawn = \"2021-01-01\"", "").is_empty());
        assert!(concerned("", "patched = [\"what\"]").is_empty());
    }
}
