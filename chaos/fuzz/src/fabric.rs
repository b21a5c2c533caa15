//! Subjects and patterns, and what processes and their node say to each other: what is taken reads back as written, and matching agrees with its
//! definition.

use synod_fabric::attach::foreign;
use synod_fabric::subject::{LENGTH_MAX, TOKENS_MAX};
use synod_fabric::{Pattern, Subject};

/// A pattern in the first line, a subject in the second.
pub fn subject(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern_text, subject_text) = text.split_once('\n').unwrap_or((text, text));
    let pattern = Pattern::new(pattern_text);
    let subject = Subject::new(subject_text);
    if let Ok(subject) = &subject {
        assert_eq!(subject.as_str(), subject_text);
        assert!(!subject_text.is_empty() && subject_text.len() <= LENGTH_MAX);
        assert!(subject.tokens().count() <= TOKENS_MAX && subject.tokens().all(|token| !token.is_empty()));
        let itself = Pattern::new(subject_text).expect("every subject is a pattern");
        assert!(itself.matches(subject));
    }
    if let (Ok(pattern), Ok(subject)) = (&pattern, &subject) {
        let wanted: Vec<&str> = pattern_text.split('.').collect();
        let given: Vec<&str> = subject_text.split('.').collect();
        assert_eq!(pattern.matches(subject), means(&wanted, &given));
    }
}

/// What a pattern means, token by token.
fn means(wanted: &[&str], given: &[&str]) -> bool {
    match (wanted, given) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        ([want, wanted @ ..], [give, given @ ..]) => (*want == "*" || want == give) && means(wanted, given),
        _ => false,
    }
}

/// A frame between a process and its node, read as either side would.
pub fn attach(bytes: &[u8]) {
    for read in [foreign::ask, foreign::tell] {
        if let Some(frame) = read(bytes) {
            assert_eq!(read(&frame).as_deref(), Some(&frame[..]), "what was read is written in one way");
        }
    }
}

/// A record that another process left in a spool.
pub fn spool(bytes: &[u8]) {
    if let Some(record) = foreign::kept(bytes) {
        assert_eq!(record, bytes, "what was read is written in one way");
    }
}
