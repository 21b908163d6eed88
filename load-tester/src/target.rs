//! Where requests go: `http://host[:port][/path]` and the secret that opens the door.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use serde::Serialize;

use crate::Error;

/// A server and a path on it. Plain HTTP only: a load tester that encrypts measures its own ciphers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// A name or an address; IPv6 addresses without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Begins with a slash; may carry a query string.
    pub path: String,
}

impl Target {
    /// `host:port` as it stands in a `Host` field.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The first address that the host's name stands for.
    ///
    /// # Errors
    /// When it stands for none.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        let resolve = |source| Error::Resolve { host: self.host.clone(), source };
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(resolve)?;
        addresses.next().ok_or_else(|| resolve(std::io::Error::other("the name has no address")))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or("it must begin with http:// (TLS is not spoken)")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("it must not carry a user name or password: use --token".to_owned());
        }
        let (host, port) = split_port(authority)?;
        if host.is_empty() || !is_plain(host) {
            return Err("the host is missing or has odd characters".to_owned());
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { host: host.to_owned(), port, path: checked_path(path)? })
    }
}

/// A path that may stand in a request line.
///
/// # Errors
/// What is wrong with it.
pub fn checked_path(path: &str) -> Result<String, String> {
    if !path.starts_with('/') || path.contains('#') || !is_plain(path) {
        return Err("a path begins with / and has no spaces, control characters or #".to_owned());
    }
    Ok(path.to_owned())
}

fn split_port(authority: &str) -> Result<(&str, u16), String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the [ of an IPv6 address is not closed")?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, parse_port(port)?)),
            None if after.is_empty() => Ok((host, 80)),
            None => Err("after ] comes a colon and a port".to_owned()),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Ok((host, parse_port(port)?)),
        None => Ok((authority, 80)),
    }
}

fn parse_port(port: &str) -> Result<u16, String> {
    port.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{port:?} is not a port, 1 to 65535"))
}

/// Nothing that could end a header line early.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A bearer token. Its `Debug` form hides it, and it is never serialised.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The secret itself, for the `Authorization` field and for nothing else.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(token: &str) -> Result<Self, String> {
        if token.is_empty() || !is_plain(token) {
            return Err("a token is printable ASCII without spaces".to_owned());
        }
        Ok(Self(token.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, host: &str, port: u16, path: &str) {
        let target = url.parse::<Target>();
        assert_eq!(target, Ok(Target { host: host.to_owned(), port, path: path.to_owned() }));
    }

    #[test]
    fn urls_are_taken_apart() {
        check("http://127.0.0.1:8080/metrics", "127.0.0.1", 8080, "/metrics");
        check("http://example.org", "example.org", 80, "/");
        check("http://[::1]:9/a?b=c", "::1", 9, "/a?b=c");
    }

    #[test]
    fn what_is_not_such_a_url_is_refused() {
        for url in [
            "https://x/",
            "x:80",
            "http://",
            "http://a b/",
            "http://u:p@h/",
            "http://h:0/",
            "http://h:99999/",
            "http://[::1/",
            "http://[::1]x/",
            "http://h/a\r\nX: y",
            "http://h/#x",
        ] {
            assert!(url.parse::<Target>().is_err(), "{url:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let token: Token = "s3cret".parse().unwrap();
        assert!(!format!("{token:?}").contains("s3cret"));
        assert!("a\r\nb".parse::<Token>().is_err());
    }
}
