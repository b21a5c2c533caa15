//! What the reviewing agents read of a foreign tree and of foreign tools: findings point into the file and keep secrets.

use synod_agents::finding::Finding;
use synod_agents::linter::{self, tools};
use synod_agents::security::{locks, secrets::Corpus};
use synod_agents::tree;

const PATHS: [&str; 16] = [
    "README.md",
    "Cargo.toml",
    "Cargo.lock",
    "package.json",
    "package-lock.json",
    "yarn.lock",
    "poetry.lock",
    "requirements.txt",
    "go.mod",
    "src/lib.rs",
    "tool.py",
    "run.sh",
    "ci.yaml",
    "tests/data/x.json",
    "docs/guide.md",
    "vendor/x.toml",
];

/// A path by the first byte, and what is left.
fn file(bytes: &[u8]) -> Option<(&'static str, &[u8])> {
    let (choice, content) = bytes.split_first()?;
    Some((PATHS[usize::from(*choice) % PATHS.len()], content))
}

fn point_into(path: &str, content: &[u8], findings: &[Finding]) {
    let lines = content.split(|&byte| byte == b'\n').count();
    for finding in findings {
        assert_eq!(finding.place.path, path);
        assert!(!finding.message.is_empty() && !finding.advice.is_empty());
        if let Some(line) = finding.place.line {
            assert!((1..=lines).contains(&(line as usize)), "{} in a file of {lines} lines", finding.place);
        }
        assert_ne!(finding.place.column, Some(0), "columns count from 1");
    }
}

/// The search for secrets. The first byte chooses the file's name.
pub fn secrets(bytes: &[u8]) {
    let Some((path, content)) = file(bytes) else { return };
    let findings = Corpus::built_in().scan(path, content);
    point_into(path, content, &findings);
    assert_eq!(Corpus::built_in().scan(path, content), findings, "scanning twice finds the same");
}

/// A corpus of patterns, which an operator may write.
pub fn corpus_rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Corpus::parse(text) {
        Ok(corpus) => point_into("README.md", bytes, &corpus.scan("README.md", bytes)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Lock files and lists of requirements. The first byte chooses which.
pub fn locks(bytes: &[u8]) {
    let Some((path, content)) = file(bytes) else { return };
    let Ok(text) = std::str::from_utf8(content) else { return };
    point_into(path, content, &locks::file(path, text));
}

/// LINTER's own checks. The first byte chooses the file's name.
pub fn lint(bytes: &[u8]) {
    let Some((path, content)) = file(bytes) else { return };
    let exists = |asked: &str| {
        assert!(!asked.starts_with('/'), "{asked} is not a path within the tree");
        asked.len().is_multiple_of(2)
    };
    point_into(path, content, &linter::file(path, content, &exists));
    if let Ok(text) = std::str::from_utf8(content) {
        let (line, column) = tree::position(text, text.len());
        assert!(line >= 1 && column >= 1);
    }
}

/// What tools print. The first byte chooses the tool.
pub fn tools(bytes: &[u8]) {
    let Some((choice, output)) = bytes.split_first() else { return };
    let Ok(output) = std::str::from_utf8(output) else { return };
    let relative = |path: &str| path.trim_start_matches('/').to_owned();
    let findings = match choice % 6 {
        0 => tools::from_parser("lint.python-syntax", output, &relative),
        1 => tools::from_bash("run.sh", output).into_iter().collect(),
        2 => tools::from_rustfmt("package", output, &relative).into_iter().collect(),
        3 => tools::from_rustfmt_errors(output, &relative),
        4 => tools::from_ruff(output, &relative).unwrap_or_default(),
        _ => tools::from_shellcheck(output, &relative).unwrap_or_default(),
    };
    assert!(findings.iter().all(|finding| !finding.rule.is_empty() && !finding.place.path.starts_with('/')));
}
