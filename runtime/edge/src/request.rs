//! What comes in at a door and what goes out, without sockets: a request whose body is whole, an answer whose body may still grow.
//!
//! Paths and queries are read strictly: a torn escape, a control character, a `..` or a doubled key is refused, not guessed at.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::problem::Problem;

/// The longest path with its query, in bytes.
pub const TARGET_MAX: usize = 4096;

/// Through which door a request came: it decides what the request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The Unix socket: a process of the node's own user (or root), as the kernel says.
    Unix,
    /// TCP on a loopback address: any process of this machine, and any page in a browser on it.
    Loopback,
    /// TCP on another address: anybody.
    Beyond,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Read. HEAD is read as GET: the shell leaves the body out.
    Get,
    /// Start or send something.
    Post,
    /// End something.
    Delete,
    /// Any other word.
    Other(String),
}

impl Method {
    /// The method of that name.
    pub fn named(name: &str) -> Self {
        match name {
            "GET" | "HEAD" => Method::Get,
            "POST" => Method::Post,
            "DELETE" => Method::Delete,
            other => Method::Other(other.into()),
        }
    }
}

/// A request with its whole body.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// Path and query as they came, still escaped.
    pub target: String,
    /// Headers with names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, already bounded by the shell.
    pub body: Bytes,
    /// Through which door it came.
    pub via: Via,
}

impl Request {
    /// A request without headers and body over the Unix socket.
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Request { method, target: target.into(), headers: Vec::new(), body: Bytes::new(), via: Via::Unix }
    }

    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str())
    }

    /// The parts of the path, unescaped. A path that ends with `/` has an empty last part.
    pub fn parts(&self) -> Result<Vec<String>, Problem> {
        let path = self.target.split('?').next().unwrap_or_default();
        let Some(rest) = path.strip_prefix('/') else {
            return Err(Problem::bad(path, "the path does not begin with `/`"));
        };
        let mut parts = Vec::new();
        let count = rest.split('/').count();
        for (n, part) in rest.split('/').enumerate() {
            let part = unescape(part).map_err(|why| Problem::bad(path, why))?;
            if part.contains('/') || part == "." || part == ".." || (part.is_empty() && n + 1 < count) {
                return Err(Problem::bad(path, "the path has `.`, `..`, an empty part or an escaped `/`"));
            }
            parts.push(part);
        }
        Ok(parts)
    }

    /// The keys and values of the query, unescaped; only keys of `known`, each at most once.
    pub fn query(&self, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
        let Some((_, query)) = self.target.split_once('?') else { return Ok(Vec::new()) };
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let read = |text: &str| unescape(&text.replace('+', " ")).map_err(|why| Problem::bad(query, why));
            let (key, value) = (read(key)?, read(value)?);
            if !known.contains(&key.as_str()) {
                let hint = match known {
                    [] => "this address takes no query".to_string(),
                    _ => format!("known here: {}", known.join(", ")),
                };
                return Err(Problem::new(400, format!("`{key}` is no key of this query"), query, hint));
            }
            if pairs.iter().any(|(had, _)| *had == key) {
                return Err(Problem::bad(query, "the query names a key twice"));
            }
            pairs.push((key, value));
        }
        Ok(pairs)
    }
}

/// Undoes `%` escapes. The result is UTF-8 without control characters, or an explanation.
fn unescape(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| (digit as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("a `%` is not followed by two hexadecimal digits");
        };
        bytes.push((high * 16 + low) as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| "an escape does not give UTF-8")?;
    if text.chars().any(char::is_control) { Err("an escape gives a control character") } else { Ok(text) }
}

/// Escapes a text so that it is one part of a path or one value of a query.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Parts as they come, until every sender is gone. Dropping the receiver tells the sender that nobody reads on.
    Stream(mpsc::Receiver<Bytes>),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers beside those that the shell adds to every answer.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

impl Answer {
    /// An answer of that media type.
    pub fn of(status: u16, media: &str, body: impl Into<Bytes>) -> Self {
        Answer { status, headers: vec![("content-type", media.into())], body: Body::Whole(body.into()) }
    }

    /// JSON.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(mut text) => {
                text.push(b'\n');
                Self::of(status, "application/json", text)
            }
            Err(error) => {
                Problem::new(500, format!("the answer has no form in JSON: {error}"), "", "").into()
            }
        }
    }

    /// Plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::of(status, "text/plain; charset=utf-8", text.into())
    }

    /// A page.
    pub fn page(status: u16, html: impl Into<Bytes>) -> Self {
        Self::of(status, "text/html; charset=utf-8", html)
    }

    /// Sends the asker elsewhere.
    pub fn see(target: String) -> Self {
        Answer { status: 303, headers: vec![("location", target)], body: Body::Whole(Bytes::new()) }
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(is, _)| *is == name).map(|(_, value)| value.as_str())
    }

    /// The whole body; waits for the end of a stream.
    pub async fn bytes(self) -> Bytes {
        match self.body {
            Body::Whole(bytes) => bytes,
            Body::Stream(mut parts) => {
                let mut all = Vec::new();
                while let Some(part) = parts.recv().await {
                    all.extend_from_slice(&part);
                }
                all.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Request {
        Request::new(Method::Get, target)
    }

    #[test]
    fn a_path_comes_apart_and_a_slash_at_its_end_shows() {
        assert_eq!(get("/runs/a%20b/c?x=1").parts().expect("right"), ["runs", "a b", "c"]);
        assert_eq!(get("/").parts().expect("right"), [""]);
        assert_eq!(get("/runs/").parts().expect("right"), ["runs", ""]);
    }

    #[test]
    fn a_path_that_could_lead_elsewhere_is_refused() {
        for path in [
            "runs",
            "/a//b",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/.",
            "/a/%2fetc",
            "/%",
            "/%4",
            "/%zz",
            "/%00",
            "/%ff",
            "/a%0d%0ab",
            "",
        ] {
            assert_eq!(get(path).parts().expect_err(path).status, 400, "{path}");
        }
    }

    #[test]
    fn a_query_is_read_by_known_keys_alone() {
        let pairs = get("/x?a=1+2&b=%26").query(&["a", "b"]).expect("right");
        assert_eq!(pairs, [("a".into(), "1 2".into()), ("b".into(), "&".into())]);
        for query in ["/x?c=1", "/x?a=1&a=2", "/x?a=%0"] {
            assert_eq!(get(query).query(&["a", "b"]).expect_err(query).status, 400, "{query}");
        }
    }

    #[test]
    fn what_is_escaped_comes_back() {
        for text in ["plain", "a/b c", "ü%?&=+#", "..", "\u{1F600}"] {
            assert_eq!(unescape(&escape(text)).expect("its own form"), text);
        }
    }
}
