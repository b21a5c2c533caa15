//! Text from strangers made safe to show: in HTML, in a link, on a terminal.
//!
//! File names and messages of a hostile tree reach people through reports. Markup is escaped; characters that move the cursor or turn
//! the direction of writing are shown by their number instead of being obeyed.

use crate::tree;

/// Text as people may see it: control and direction characters by their number, line ends as blanks.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => out.push(' '),
            letter if hidden(letter) => out.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out
}

/// Whether a character changes how others are shown, or is not seen at all.
fn hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text to stand in HTML, as content or in a quoted attribute.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in visible(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A sentence to stand in HTML; what it has between backticks is set as code.
pub fn prose(text: &str) -> String {
    let parts: Vec<String> = text.split('`').map(html).collect();
    if parts.len().is_multiple_of(2) {
        // A backtick without its fellow quotes nothing.
        return html(text);
    }
    let set = |(n, part): (usize, &String)| match n % 2 {
        0 => part.clone(),
        _ => format!("<code>{part}</code>"),
    };
    parts.iter().enumerate().map(set).collect()
}

/// A link to a file beside the page, by its path: relative whatever the path looks like.
pub fn link(path: &str) -> String {
    format!("./{}", tree::uri(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_what_steers_a_terminal_or_turns_text_is_shown_not_obeyed() {
        assert_eq!(html("<script>\"a\" & 'b'"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;");
        assert_eq!(visible("a\u{1b}[2Jb\u{202e}c\nd\u{9b}"), "a\\u{1b}[2Jb\\u{202e}c d\\u{9b}");
        assert_eq!(visible("größer 漢字 👩‍🔬"), "größer 漢字 👩‍🔬");
    }

    #[test]
    fn what_stands_between_backticks_is_code_and_no_more_than_that() {
        assert_eq!(prose("`<a>` is not `b`"), "<code>&lt;a&gt;</code> is not <code>b</code>");
        assert_eq!(prose("one ` alone"), "one ` alone");
        assert_eq!(prose("``"), "<code></code>");
    }

    #[test]
    fn a_path_that_looks_like_a_scheme_is_a_file_all_the_same() {
        assert_eq!(link("javascript:alert(1)"), "./javascript%3Aalert%281%29");
        assert_eq!(link("a b/ü?#.md"), "./a%20b/%C3%BC%3F%23.md");
    }
}
