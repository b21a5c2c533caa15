//! Which patterns match a subject: a trie over tokens, with `*` and `>` as branches of their own.
//!
//! Answers in order of id and names each once, however many of its patterns match. The cost of a lookup grows with the subject's
//! tokens and the wildcards on the way, not with the number of patterns.

use std::collections::{BTreeMap, BTreeSet};

use crate::subject::{Pattern, Subject};

/// A set of (pattern, id) pairs.
#[derive(Debug)]
pub(crate) struct Trie<T> {
    root: Branch<T>,
}

#[derive(Debug)]
struct Branch<T> {
    /// By token; `*` is one of them.
    below: BTreeMap<Box<str>, Branch<T>>,
    /// Patterns that end here.
    here: BTreeSet<T>,
    /// Patterns that end here with `>`.
    tail: BTreeSet<T>,
}

impl<T: Ord + Copy> Trie<T> {
    pub fn new() -> Self {
        Self { root: Branch::new() }
    }

    /// Adds `id` under `pattern`; false if it was there.
    pub fn insert(&mut self, pattern: &Pattern, id: T) -> bool {
        let mut branch = &mut self.root;
        for token in pattern.tokens() {
            if token == ">" {
                return branch.tail.insert(id);
            }
            branch = branch.below.entry(token.into()).or_insert_with(Branch::new);
        }
        branch.here.insert(id)
    }

    /// Takes `id` from under `pattern`, and branches that nothing hangs from; false if it was not there.
    pub fn remove(&mut self, pattern: &Pattern, id: T) -> bool {
        let tokens: Vec<&str> = pattern.tokens().collect();
        self.root.remove(&tokens, id)
    }

    /// Every id with a pattern that matches.
    pub fn matching(&self, subject: &Subject) -> BTreeSet<T> {
        let tokens: Vec<&str> = subject.tokens().collect();
        let mut found = BTreeSet::new();
        self.root.collect(&tokens, &mut found);
        found
    }
}

impl<T: Ord + Copy> Branch<T> {
    fn new() -> Self {
        Self { below: BTreeMap::new(), here: BTreeSet::new(), tail: BTreeSet::new() }
    }

    fn is_bare(&self) -> bool {
        self.below.is_empty() && self.here.is_empty() && self.tail.is_empty()
    }

    fn remove(&mut self, tokens: &[&str], id: T) -> bool {
        match tokens {
            [] => self.here.remove(&id),
            [">"] => self.tail.remove(&id),
            [first, rest @ ..] => {
                let Some(branch) = self.below.get_mut(*first) else { return false };
                let removed = branch.remove(rest, id);
                if branch.is_bare() {
                    self.below.remove(*first);
                }
                removed
            }
        }
    }

    fn collect(&self, tokens: &[&str], found: &mut BTreeSet<T>) {
        let [first, rest @ ..] = tokens else {
            found.extend(&self.here);
            return;
        };
        found.extend(&self.tail);
        if let Some(branch) = self.below.get(*first) {
            branch.collect(rest, found);
        }
        if let Some(branch) = self.below.get("*") {
            branch.collect(rest, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Trie;
    use crate::subject::{Pattern, Subject};
    use proptest::prelude::*;

    fn subject() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..5)
            .prop_map(|tokens| tokens.join("."))
    }

    fn pattern() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec!["a", "b", "c", "*", "*"]);
        (prop::collection::vec(token, 1..5), any::<bool>()).prop_map(|(mut tokens, tail)| {
            if tail {
                tokens.pop();
                tokens.push(">");
            }
            tokens.join(".")
        })
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_asking_each_pattern_finds(
            patterns in prop::collection::vec((pattern(), any::<bool>()), 0..24),
            subjects in prop::collection::vec(subject(), 1..12),
        ) {
            let patterns: Vec<_> = patterns.into_iter().map(|(text, kept)| (Pattern::new(&text).unwrap(), kept)).collect();
            let mut trie = Trie::new();
            for (id, (pattern, _)) in patterns.iter().enumerate() {
                prop_assert!(trie.insert(pattern, id));
                prop_assert!(!trie.insert(pattern, id));
            }
            for (id, (pattern, kept)) in patterns.iter().enumerate() {
                if !kept {
                    prop_assert!(trie.remove(pattern, id));
                    prop_assert!(!trie.remove(pattern, id));
                }
            }
            for text in subjects {
                let subject = Subject::new(&text).unwrap();
                let naive: std::collections::BTreeSet<usize> =
                    patterns.iter().enumerate().filter(|(_, (p, kept))| *kept && p.matches(&subject)).map(|(id, _)| id).collect();
                prop_assert_eq!(trie.matching(&subject), naive);
            }
        }

        #[test]
        fn a_trie_that_lost_all_its_patterns_holds_nothing(patterns in prop::collection::vec(pattern(), 0..24)) {
            let mut trie = Trie::new();
            for text in &patterns {
                trie.insert(&Pattern::new(text).unwrap(), 1);
            }
            for text in &patterns {
                trie.remove(&Pattern::new(text).unwrap(), 1);
            }
            prop_assert!(trie.root.is_bare());
        }
    }
}
