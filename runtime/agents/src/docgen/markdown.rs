//! The little of Markdown that is needed to write documents whose links hold, and to check those of others.
//!
//! Headings get the anchors that code hosts give them: lower case, letters and digits kept, spaces as hyphens, a number for
//! the second of a name.

use std::collections::BTreeMap;

/// Text in which no character is read as Markdown.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|') {
            out.push('\\');
        }
        out.push(if character.is_control() { ' ' } else { character });
    }
    out
}

/// Text as code on one line, whatever it holds.
pub fn code(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// The anchor of a heading, without regard to others of the same text.
pub fn slug(heading: &str) -> String {
    let mut out = String::new();
    for character in heading.trim().chars() {
        if character.is_alphanumeric() || matches!(character, '_' | '-') {
            out.extend(character.to_lowercase());
        } else if character == ' ' {
            out.push('-');
        }
    }
    out
}

/// Gives every heading of a document its own anchor.
#[derive(Debug, Default)]
pub struct Anchors {
    given: BTreeMap<String, usize>,
}

impl Anchors {
    /// The anchor of the next heading.
    pub fn next(&mut self, heading: &str) -> String {
        let base = slug(heading);
        let mut anchor = base.clone();
        while self.given.contains_key(&anchor) {
            let count = self.given.entry(base.clone()).or_insert(0);
            *count += 1;
            anchor = format!("{base}-{count}");
        }
        self.given.insert(anchor.clone(), 0);
        anchor
    }
}

/// A line of a fenced block of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenced<'t> {
    /// The first word after the fence, in the document's spelling.
    pub language: &'t str,
    /// Which block of the document, from 0.
    pub block: usize,
    /// The line.
    pub text: &'t str,
}

/// A line of a document: within a fenced block or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'t> {
    /// Prose, headings, lists.
    Prose(&'t str),
    /// Code.
    Code(Fenced<'t>),
    /// The fence itself.
    Fence,
}

/// Tells prose from fenced code; one entry a line.
pub fn lines(text: &str) -> Vec<Line<'_>> {
    let mut fence: Option<(char, usize, &str)> = None;
    let mut block = 0;
    let mut lines = Vec::new();
    for raw in text.lines() {
        let trimmed = raw.trim_start().trim_start_matches('>').trim_start();
        let mark = trimmed.chars().next().filter(|c| matches!(c, '`' | '~'));
        let length = mark.map_or(0, |mark| trimmed.chars().take_while(|c| *c == mark).count());
        match (fence, mark) {
            (Some((open, count, _)), Some(mark))
                if mark == open && length >= count && trimmed[length..].trim().is_empty() =>
            {
                fence = None;
                block += 1;
                lines.push(Line::Fence);
            }
            (Some((_, _, language)), _) => lines.push(Line::Code(Fenced { language, block, text: raw })),
            (None, Some(mark)) if length >= 3 && !trimmed[length..].contains('`') => {
                let language = trimmed[length..].trim().split([' ', ',', '{']).next().unwrap_or("");
                fence = Some((mark, length, language));
                lines.push(Line::Fence);
            }
            _ => lines.push(Line::Prose(raw)),
        }
    }
    lines
}

/// The anchors that a document offers: of its headings, and those written as HTML.
pub fn anchors(text: &str) -> Vec<String> {
    let mut anchors = Anchors::default();
    let mut found = Vec::new();
    let mut before = "";
    for line in lines(text) {
        let Line::Prose(raw) = line else {
            before = "";
            continue;
        };
        let trimmed = raw.trim();
        let level = trimmed.chars().take_while(|c| *c == '#').count();
        if (1..=6).contains(&level) && trimmed[level..].starts_with([' ', '\t']) {
            found.push(anchors.next(&text_of(trimmed[level..].trim().trim_end_matches('#').trim())));
        } else if !before.is_empty()
            && !trimmed.is_empty()
            && (trimmed.chars().all(|c| c == '=') || trimmed.chars().all(|c| c == '-'))
        {
            found.push(anchors.next(&text_of(before)));
        }
        for mark in ["id=\"", "name=\"", "id='", "name='", "{#"] {
            for part in raw.split(mark).skip(1) {
                found.push(part.split(['"', '\'', '}', ' ']).next().unwrap_or("").to_lowercase());
            }
        }
        if let Some((_, rest)) = trimmed.split_once("<h")
            && let Some((_, inner)) = rest.split_once('>')
        {
            found.push(slug(&text_of(inner)));
        }
        before = trimmed;
    }
    found
}

/// A heading as it reads: links by their text, no marks, no tags, escaped characters as themselves.
fn text_of(heading: &str) -> String {
    let mut out = String::new();
    let mut rest = heading.chars();
    while let Some(character) = rest.next() {
        let skipped_to = match character {
            '\\' => {
                out.extend(rest.next());
                continue;
            }
            '<' => '>',
            ']' if rest.as_str().starts_with('(') => ')',
            '[' | ']' | '`' | '*' | '!' => continue,
            _ => {
                out.push(character);
                continue;
            }
        };
        if let Some(end) = rest.as_str().find(skipped_to) {
            rest = rest.as_str()[end + 1..].chars();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_get_the_anchors_that_hosts_give_them() {
        let text = "# Using `foo_bar` & more!\n\nSetext\n======\n## A\n```sh\n# not a heading\n```\n## A\n### [Link](x.md) *bold*\n<a id=\"own\"></a>\n";
        assert_eq!(anchors(text), ["using-foo_bar--more", "setext", "a", "a-1", "link-bold", "own"]);
    }

    #[test]
    fn code_holds_backticks_and_plain_text_no_marks() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a\nb"), "`a b`");
        assert_eq!(code("`a``"), "``` `a`` ```");
        assert_eq!(plain("a_b [c]\n"), "a\\_b \\[c\\] ");
        let odd = "a<b>[c](d)`e`*f*";
        assert_eq!(anchors(&format!("# {}\n", plain(odd))), [slug(odd)]);
    }

    #[test]
    fn any_text_has_as_many_lines_as_it_has() {
        proptest::proptest!(|(text in "[#`~a<>\\]\\[()\n =-]{0,80}")| {
            proptest::prop_assert_eq!(lines(&text).len(), text.lines().count());
            anchors(&text);
        });
    }
}
