//! The frame of every page: head, style, navigation; and the few pieces of HTML that pages are made of.

use std::fmt::Write;

/// The pages, in the order of the navigation: file and title.
pub const PAGES: [(&str, &str); 4] = [
    ("index.html", "Overview"),
    ("benchmarks.html", "Benchmarks"),
    ("scenarios.html", "Scenarios"),
    ("chaos.html", "Chaos"),
];

const STYLE: &str = include_str!("page.css");

/// Text made safe to stand in HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
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

/// A page under construction.
pub struct Page {
    file: &'static str,
    title: &'static str,
    body: String,
}

impl Page {
    /// An empty page of [`PAGES`].
    pub fn new(index: usize) -> Self {
        let (file, title) = PAGES[index];
        Self { file, title, body: String::new() }
    }

    /// Its file's name.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// A section's heading.
    pub fn heading(&mut self, text: &str) {
        self.raw(&format!("<h2>{}</h2>\n", escape(text)));
    }

    /// A smaller heading.
    pub fn subheading(&mut self, text: &str) {
        self.raw(&format!("<h3>{}</h3>\n", escape(text)));
    }

    /// A paragraph.
    pub fn text(&mut self, text: &str) {
        self.raw(&format!("<p>{}</p>\n", escape(text)));
    }

    /// What is missing, and the command that would make it.
    pub fn missing(&mut self, what: &str, command: &str) {
        let (what, command) = (escape(what), escape(command));
        self.raw(&format!("<p class=\"missing\">Missing: {what}. Made by <code>{command}</code></p>\n"));
    }

    /// A plot; wider ones scroll by themselves on a narrow screen.
    pub fn plot(&mut self, svg: &str) {
        self.raw(&format!("<div class=\"wide\">{svg}</div>\n"));
    }

    /// A table. Cells are text; a class may be given to a cell by [`Cell`].
    pub fn table(&mut self, head: &[&str], rows: &[Vec<Cell>]) {
        let mut out = String::from("<div class=\"wide\"><table>\n<tr>");
        for (column, name) in head.iter().enumerate() {
            let figures = rows.first().and_then(|row| row.get(column)).is_some_and(Cell::is_number);
            let class = if figures { " class=\"n\"" } else { "" };
            let _ = write!(out, "<th{class}>{}</th>", escape(name));
        }
        out.push_str("</tr>\n");
        for row in rows {
            out.push_str("<tr>");
            for cell in row {
                let _ = match cell.class {
                    "" => write!(out, "<td>{}</td>", escape(&cell.text)),
                    class => write!(out, "<td class=\"{class}\">{}</td>", escape(&cell.text)),
                };
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
        self.raw(&out);
    }

    /// HTML that is already safe.
    pub fn raw(&mut self, html: &str) {
        self.body.push_str(html);
    }

    /// The whole page.
    pub fn finish(self) -> String {
        let mut navigation = String::new();
        for (file, title) in PAGES {
            let here = if file == self.file { " aria-current=\"page\"" } else { "" };
            let _ = write!(navigation, "<a href=\"{file}\"{here}>{title}</a> ");
        }
        let (title, body) = (self.title, self.body);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Synod: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header><strong>Synod</strong><nav>{}</nav></header>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n",
            navigation.trim_end(),
        )
    }
}

/// A table's cell.
pub struct Cell {
    text: String,
    class: &'static str,
}

impl Cell {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "" }
    }

    /// A figure, set to the right.
    pub fn number(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "n" }
    }

    /// Something good.
    pub fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "good" }
    }

    /// Something wrong.
    pub fn bad(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "bad" }
    }

    /// Something that is not known.
    pub fn doubt(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "doubt" }
    }

    /// A name, a hash, a command.
    pub fn code(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "code" }
    }

    fn is_number(&self) -> bool {
        self.class.starts_with('n')
    }

    /// Bad unless the number is zero.
    pub fn zero_or_bad(number: u64) -> Self {
        let text = crate::figures::count(i64::try_from(number).unwrap_or(i64::MAX));
        if number == 0 { Self::number(text) } else { Self { text, class: "n bad" } }
    }
}
