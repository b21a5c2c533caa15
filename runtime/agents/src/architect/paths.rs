//! Paths within the tree: joining with `.` and `..`, and the patterns in which manifests name folders.

use crate::tree;

/// `path` as seen from `folder` (empty for the root); nothing if it leads out of the tree or is absolute.
pub fn resolve(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') { None } else { tree::resolve(folder, path) }
}

/// Whether a pattern with `*`, `?` and `**` names a path.
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    // Row by row, so that many stars cost a product and not a power.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        for (at, _) in reached.iter().enumerate().filter(|(_, reached)| **reached) {
            if part == "**" {
                next[at..].fill(true);
            } else if at < path.len() && part_matches(part.as_bytes(), path[at].as_bytes()) {
                next[at + 1] = true;
            }
        }
        reached = next;
    }
    reached[path.len()]
}

fn part_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_within_the_tree() {
        assert_eq!(resolve("a/b", "../c/./d").as_deref(), Some("a/c/d"));
        assert_eq!(resolve("a", "..").as_deref(), Some(""));
        assert_eq!(resolve("a", "../.."), None);
        assert_eq!(resolve("a", "/etc"), None);
    }

    #[test]
    fn patterns_name_folders() {
        assert!(matches("crates/*", "crates/a") && !matches("crates/*", "crates/a/b"));
        assert!(matches("a/**/z", "a/b/c/z") && matches("a/**/z", "a/z"));
        assert!(matches("x-?*", "x-ab") && !matches("x-?*", "x-"));
    }
}
