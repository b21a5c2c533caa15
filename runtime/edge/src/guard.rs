//! Who may ask for what, decided from the request alone.
//!
//! The Unix socket is the owner's. Over loopback anybody on the machine may read, and only a bearer of the token may change anything; a
//! page in a browser is stopped by its `Host` (a name that was rebound to 127.0.0.1) and its `Origin`. Beyond loopback
//! everything but `/livez` and `/readyz` needs the token. Not done here: encryption, for which a proxy stands in front.

use crate::problem::Problem;
use crate::request::{Method, Request, Via};

/// Says why a request is not admitted, if it is not. `token` is the secret of those who may change things over TCP.
pub fn admit(request: &Request, token: Option<&str>) -> Result<(), Problem> {
    if request.via == Via::Unix {
        return Ok(());
    }
    let mut hosts =
        request.headers.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.as_str());
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        _ => return Err(Problem::bad("Host", "a request names exactly one host")),
    };
    if request.via == Via::Loopback && !names_loopback(host) {
        return Err(Problem::new(
            421,
            format!("`{host}` is not a name of this machine's loopback"),
            "Host",
            "ask http://127.0.0.1 or http://localhost: other names are refused, so that no web page can rebind one",
        ));
    }
    let changes = request.method != Method::Get;
    let foreign = |name: &str| {
        Problem::new(
            403,
            "a page of another origin may not change anything here",
            name,
            "ask without a browser, or from the node's own pages",
        )
    };
    if changes && request.header("origin").is_some_and(|origin| origin != format!("http://{host}")) {
        return Err(foreign("Origin"));
    }
    if changes && request.header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"))
    {
        return Err(foreign("Sec-Fetch-Site"));
    }
    let path = request.target.split('?').next().unwrap_or_default();
    let listens = path.starts_with("/api/sub/");
    let open = match request.via {
        Via::Unix => true,
        Via::Loopback => !changes && !listens,
        Via::Beyond => matches!(path, "/livez" | "/readyz"),
    };
    if open {
        return Ok(());
    }
    let Some(token) = token else {
        return Err(Problem::new(
            403,
            "over TCP this node only lets itself be read",
            "Authorization",
            "ask over its Unix socket, or configure http.token and send `Authorization: Bearer TOKEN`",
        ));
    };
    let given = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match given {
        Some(given) if same(given.as_bytes(), token.as_bytes()) => Ok(()),
        given => Err(Problem::new(
            401,
            if given.is_some() { "the token is not the right one" } else { "this needs a token" },
            "Authorization",
            "send `Authorization: Bearer TOKEN` with the content of the file that http.token names",
        )),
    }
}

/// Whether a `Host` is one of loopback's, with any port: a tunnel may give it another.
fn names_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || is_port(port) => name,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if is_port(&format!(":{port}")) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok())
}

/// Compares in a time that does not depend on where two secrets of one length differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, target: &str, via: Via, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Method::named(method), target);
        request.via = via;
        request.headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        request
    }

    fn refused(request: &Request, token: Option<&str>) -> u16 {
        admit(request, token).map_or_else(|problem| problem.status, |()| 200)
    }

    #[test]
    fn the_owner_s_socket_is_asked_nothing() {
        assert_eq!(refused(&asked("POST", "/api/runs", Via::Unix, &[]), None), 200);
    }

    #[test]
    fn a_name_that_was_rebound_to_loopback_is_refused() {
        for (host, status) in [
            ("127.0.0.1:7677", 200),
            ("localhost", 200),
            ("LOCALHOST:1", 200),
            ("[::1]:7677", 200),
            ("[::1]", 200),
            ("evil.example:7677", 421),
            ("127.0.0.1.evil.example", 421),
            ("localhost:7677@evil.example", 421),
            ("192.0.2.1", 421),
            ("[::1]evil", 421),
            ("", 421),
        ] {
            let request = asked("GET", "/runs", Via::Loopback, &[("host", host)]);
            assert_eq!(refused(&request, None), status, "{host}");
        }
        assert_eq!(refused(&asked("GET", "/", Via::Loopback, &[]), None), 400);
        let twice = asked("GET", "/", Via::Loopback, &[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(refused(&twice, None), 400);
    }

    #[test]
    fn over_loopback_only_a_bearer_of_the_token_changes_anything() {
        let host = ("host", "localhost");
        let post = |headers: &[(&str, &str)]| asked("POST", "/api/runs", Via::Loopback, headers);
        assert_eq!(refused(&post(&[host]), None), 403);
        assert_eq!(refused(&post(&[host]), Some("s3")), 401);
        assert_eq!(refused(&post(&[host, ("authorization", "Bearer s4")]), Some("s3")), 401);
        assert_eq!(refused(&post(&[host, ("authorization", "Bearer s3")]), Some("s3")), 200);
        assert_eq!(refused(&asked("GET", "/api/sub/a?count=1", Via::Loopback, &[host]), None), 403);
        assert_eq!(refused(&asked("PATCH", "/runs", Via::Loopback, &[host]), None), 403);
    }

    #[test]
    fn a_page_of_another_origin_cannot_post_even_with_the_token() {
        let (host, token) = (("host", "localhost:1"), ("authorization", "Bearer s3"));
        for (name, value, status) in [
            ("origin", "http://evil.example", 403),
            ("origin", "null", 403),
            ("origin", "http://localhost:1", 200),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "same-origin", 200),
        ] {
            let request = asked("POST", "/api/runs", Via::Loopback, &[host, token, (name, value)]);
            assert_eq!(refused(&request, Some("s3")), status, "{name}: {value}");
        }
    }

    #[test]
    fn beyond_loopback_everything_but_health_needs_the_token() {
        let host = ("host", "synod.example");
        assert_eq!(refused(&asked("GET", "/readyz", Via::Beyond, &[host]), Some("s3")), 200);
        assert_eq!(refused(&asked("GET", "/runs", Via::Beyond, &[host]), Some("s3")), 401);
        let bearer = [host, ("authorization", "Bearer s3")];
        assert_eq!(refused(&asked("GET", "/runs", Via::Beyond, &bearer), Some("s3")), 200);
    }
}
