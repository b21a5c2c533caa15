//! A changelog from a repository's history: commits by release and by kind.
//!
//! Pure: [`arguments`] says how git is asked, [`parse`] reads its answer, [`changelog`] writes the document. Git is asked in a way
//! that runs nothing the repository's own configuration names: no hook, no pager, no signature check, no fetch. A kind comes from a
//! conventional prefix (`fix:`), else from the first word of the subject; what neither tells is "Changed".

use std::fmt::Write as _;

use crate::docgen::markdown::plain;

/// Commits read at most; the document says so when there are more.
pub const COMMITS_MAX: usize = 20_000;

/// Parts of a commit, and commits, are set apart by bytes that no message holds.
const PART: char = '\u{1f}';
const COMMIT: char = '\u{1e}';

/// The environment in which git reads no configuration but the repository's own, and asks nobody.
pub const ENVIRONMENT: [(&str, &str); 8] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("HOME", "/nonexistent"),
];

/// The arguments that make git print the history of the repository `git_dir` in the form that [`parse`] reads.
pub fn arguments(git_dir: &str) -> Vec<String> {
    let fixed = [
        "--no-pager",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.pager=cat",
        "-c",
        "log.showSignature=false",
        "-c",
        "i18n.logOutputEncoding=UTF-8",
        "log",
        "--topo-order",
        "--no-color",
        "--no-show-signature",
        "--no-mailmap",
        "--no-ext-diff",
        "--no-textconv",
        "--date=short",
        "--decorate=full",
        "--decorate-refs=refs/tags/*",
        "--format=%x1e%h%x1f%P%x1f%ad%x1f%D%x1f%s",
    ];
    let mut arguments = vec![format!("--git-dir={git_dir}")];
    arguments.extend(fixed.map(String::from));
    arguments.push(format!("--max-count={}", COMMITS_MAX + 1));
    arguments.push("HEAD".into());
    arguments
}

/// One commit, as git told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Abbreviated name.
    pub id: String,
    /// How many parents it has; more than one is a merge.
    pub parents: usize,
    /// Day, as `2026-01-31`.
    pub day: String,
    /// Tags on it.
    pub tags: Vec<String>,
    /// First line of its message.
    pub subject: String,
}

/// Reads what git printed, newest commit first. What has another form is passed over.
pub fn parse(output: &str) -> Vec<Commit> {
    let mut commits = Vec::new();
    for text in output.split(COMMIT) {
        let [id, parents, day, refs, subject] = text.trim_end().splitn(5, PART).collect::<Vec<_>>()[..]
        else {
            continue;
        };
        let tags = refs.split(", ").filter_map(|one| one.strip_prefix("tag: refs/tags/")).map(String::from);
        commits.push(Commit {
            id: id.trim().into(),
            parents: parents.split_whitespace().count(),
            day: day.into(),
            tags: tags.collect(),
            subject: subject.split_whitespace().collect::<Vec<_>>().join(" "),
        });
    }
    commits
}

/// What a commit did, in the headings' order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Users have to act.
    Breaking,
    /// A hole was closed.
    Security,
    /// Something new.
    Added,
    /// Something is otherwise.
    Changed,
    /// Something will go.
    Deprecated,
    /// Something went.
    Removed,
    /// A defect was mended.
    Fixed,
    /// Something became faster.
    Performance,
    /// Documents alone.
    Documentation,
    /// Tests, builds, chores.
    Internal,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::Breaking,
        Kind::Security,
        Kind::Added,
        Kind::Changed,
        Kind::Deprecated,
        Kind::Removed,
        Kind::Fixed,
        Kind::Performance,
        Kind::Documentation,
        Kind::Internal,
    ];

    /// Its heading.
    pub fn heading(self) -> &'static str {
        match self {
            Kind::Breaking => "Breaking",
            Kind::Security => "Security",
            Kind::Added => "Added",
            Kind::Changed => "Changed",
            Kind::Deprecated => "Deprecated",
            Kind::Removed => "Removed",
            Kind::Fixed => "Fixed",
            Kind::Performance => "Performance",
            Kind::Documentation => "Documentation",
            Kind::Internal => "Internal",
        }
    }
}

/// The kind of a commit by its subject, and the subject without its conventional prefix.
pub fn kind(subject: &str) -> (Kind, String) {
    if let Some((prefix, rest)) = subject.split_once(": ") {
        let plain = prefix.trim_end_matches('!');
        let (word, scope) = match plain.split_once('(') {
            Some((word, scope)) => (word, scope.strip_suffix(')')),
            None => (plain, None),
        };
        let known = match word.to_ascii_lowercase().as_str() {
            "feat" | "feature" => Some(Kind::Added),
            "fix" | "bugfix" => Some(Kind::Fixed),
            "perf" => Some(Kind::Performance),
            "docs" | "doc" => Some(Kind::Documentation),
            "refactor" | "revert" => Some(Kind::Changed),
            "security" => Some(Kind::Security),
            "test" | "tests" | "build" | "ci" | "chore" | "style" => Some(Kind::Internal),
            _ => None,
        };
        if let Some(known) = known {
            let kind = if prefix.ends_with('!') { Kind::Breaking } else { known };
            return (kind, scope.map_or_else(|| rest.to_string(), |scope| format!("{scope}: {rest}")));
        }
    }
    let first =
        subject.split_whitespace().next().unwrap_or("").trim_end_matches([':', ',']).to_ascii_lowercase();
    let kind = match first.as_str() {
        "add" | "adds" | "added" | "introduce" | "implement" | "support" | "new" | "allow" => Kind::Added,
        "fix" | "fixes" | "fixed" | "repair" | "correct" => Kind::Fixed,
        "remove" | "removes" | "removed" | "delete" | "drop" => Kind::Removed,
        "deprecate" | "deprecates" | "deprecated" => Kind::Deprecated,
        "optimize" | "optimise" | "speed" => Kind::Performance,
        "document" | "doc" | "docs" => Kind::Documentation,
        "test" | "tests" | "ci" | "chore" => Kind::Internal,
        _ => Kind::Changed,
    };
    (kind, subject.to_string())
}

/// The document: a section a release, newest first, each commit under its kind. Merges are left out.
pub fn changelog(commits: &[Commit]) -> String {
    let mut out = String::from(
        "# Changelog\n\nMade from the history of the repository: one line a commit, merges left out.\n",
    );
    let more = commits.len() > COMMITS_MAX;
    let commits = &commits[..commits.len().min(COMMITS_MAX)];
    let mut from = 0;
    while from < commits.len() {
        let to = (from + 1..commits.len()).find(|n| !commits[*n].tags.is_empty()).unwrap_or(commits.len());
        section(&mut out, &commits[from..to]);
        from = to;
    }
    if more {
        let _ = write!(out, "\nOlder than these {COMMITS_MAX} commits: not listed.\n");
    }
    out
}

fn section(out: &mut String, commits: &[Commit]) {
    let Some(first) = commits.first() else { return };
    let title = if first.tags.is_empty() { "Unreleased".into() } else { first.tags.join(", ") };
    let _ = write!(out, "\n## {} ({})\n", plain(&title), first.day);
    let told: Vec<_> = commits.iter().filter(|commit| commit.parents < 2).collect();
    if told.is_empty() {
        out.push_str("\nMerges alone.\n");
    }
    for wanted in Kind::ALL {
        let mut heading = true;
        for commit in &told {
            let (kind, text) = kind(&commit.subject);
            if kind == wanted {
                if heading {
                    let _ = write!(out, "\n### {}\n\n", wanted.heading());
                    heading = false;
                }
                let _ = writeln!(out, "- {} (`{}`)", plain(&text), commit.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(commits: &[(&str, &str, &str, &str)]) -> String {
        commits
            .iter()
            .map(|(id, parents, refs, subject)| {
                format!("\u{1e}{id}\u{1f}{parents}\u{1f}2026-01-02\u{1f}{refs}\u{1f}{subject}\n")
            })
            .collect()
    }

    #[test]
    fn commits_are_told_by_release_and_kind_and_merges_are_not() {
        let output = printed(&[
            ("c5", "c4", "", "Add a door"),
            ("c4", "c3 x1", "", "Merge branch 'x'"),
            ("c3", "c2", "tag: refs/tags/v1.1.0", "fix(lock)!: turn the *key*"),
            ("c2", "c1", "", "Paint the wall"),
            ("c1", "", "tag: refs/tags/v1.0.0, tag: refs/tags/first", "feat: a house"),
        ]);
        let commits = parse(&output);
        assert_eq!(commits.len(), 5);
        let expected = "\n## Unreleased (2026-01-02)\n\n### Added\n\n- Add a door (`c5`)\n\
            \n## v1.1.0 (2026-01-02)\n\n### Breaking\n\n- lock: turn the \\*key\\* (`c3`)\n\n### Changed\n\n- Paint the wall (`c2`)\n\
            \n## v1.0.0, first (2026-01-02)\n\n### Added\n\n- a house (`c1`)\n";
        let text = changelog(&commits);
        assert!(text.ends_with(expected), "{text}");
        assert!(!text.contains("Merge branch"));
    }

    #[test]
    fn a_kind_comes_from_the_prefix_else_from_the_first_word() {
        for (subject, expected) in [
            ("feat: x", Kind::Added),
            ("Fixed the thing", Kind::Fixed),
            ("docs(readme): y", Kind::Documentation),
            ("perf!: z", Kind::Breaking),
            ("Remove: old", Kind::Removed),
            ("Note: nothing", Kind::Changed),
            ("", Kind::Changed),
        ] {
            assert_eq!(kind(subject).0, expected, "{subject}");
        }
    }

    #[test]
    fn nothing_of_the_repositorys_own_configuration_is_run() {
        let arguments = arguments("/t/.git");
        assert_eq!(arguments[0], "--git-dir=/t/.git");
        for wanted in
            ["core.hooksPath=/dev/null", "core.fsmonitor=false", "log.showSignature=false", "--no-pager"]
        {
            assert!(arguments.iter().any(|argument| argument == wanted), "{wanted}");
        }
    }

    #[test]
    fn any_output_is_read_without_a_panic() {
        proptest::proptest!(|(text in "[\u{1e}\u{1f}a-z:!(), \n/]{0,120}")| {
            changelog(&parse(&text));
        });
    }
}
