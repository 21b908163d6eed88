//! HTTP/1.1 itself, well-formed and not.
//!
//! Sources: RFC 9112 (message syntax; request smuggling in §11.2), RFC 9110 (Expect, methods). Where the RFCs
//! leave a choice, the strict one is taken: what two parsers could read in two ways is refused.
//! After each malformed request, a good one on a new connection must be answered.

use super::{
    HttpClaim, claim,
    target::{Part, Target},
};
use crate::{
    claim::{Check, ensure, equal},
    client::{Connection, Reply, Url, exchange, request},
};
use contracts::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
use std::{
    iter::repeat,
    time::{Duration, Instant},
};

pub(super) const CLAIMS: &[HttpClaim] = &[
    claim("a malformed request line is refused", &[], request_lines),
    claim("a malformed header is refused", &[], headers),
    claim("exactly one Host is needed", &[], hosts),
    claim("an absolute target and legal oddities are served", &[], legal_oddities),
    claim("a head over the limit is 431, one below it is served", &[], huge_heads),
    claim("a Content-Length that is no plain number is refused, and so are two", &[], content_lengths),
    claim("a body over the limit is 413, before it is sent", &[], huge_bodies),
    claim("a POST without a length is 411", &[], length_required),
    claim(
        "Transfer-Encoding and Content-Length together, or an unknown coding, are refused",
        &[],
        transfer_encodings,
    ),
    claim("a chunked body is taken, or refused with 411 or 501", &[], chunked),
    claim("malformed chunks are never taken", &[], bad_chunks),
    claim("a body cut short is never taken", &[], cut_short),
    claim("pipelined requests are answered in order, or the connection is closed", &[], pipelined),
    claim("garbage behind a request does not harm its answer", &[], pipelined_garbage),
    claim("Expect: 100-continue is answered, any other expectation is 417", &[], expect_continue),
    claim("a request that trickles in is given up, and others are served meanwhile", &[], trickle),
    claim("a silent connection keeps nobody from being served", &[], silent),
    claim("a client that disappears at any byte does no harm", &[], disappears),
    claim("bytes at random do no harm", &[], random_bytes),
];

/// A request with a body that the service answers in a way that is known.
struct Probe {
    path: &'static str,
    body: &'static str,
    content_type: &'static str,
    status: u16,
}

/// One that changes nothing, for each service.
fn probe(part: Part) -> Probe {
    let json = |path, body, status| Probe { path, body, content_type: "application/json", status };
    match part {
        Part::Ingest => json("/metrics", r#"{"metrics":[]}"#, 202),
        Part::Queue => {
            json("/heartbeat", r#"{"group":"conformance-nobody","member":"m","generation":0}"#, 409)
        }
        Part::Storage => json("/query", r#"{"matchers":[],"start":0,"end":0}"#, 200),
        Part::Query => Probe {
            path: "/api/v1/query",
            body: "query=conformance_nothing&time=0",
            content_type: "application/x-www-form-urlencoded",
            status: 200,
        },
        // Refused twice over, so that no byte changed by chance makes a rule of it.
        Part::Alert => json("/rules", r#"{"name":"","expr":"{}"}"#, 400),
    }
}

impl Probe {
    /// Its head with header lines in place of `Content-Length`, each with its CRLF.
    fn head(&self, url: &Url, lines: &str) -> String {
        let Self { path, content_type, .. } = self;
        let (base, host, token) = (&url.base, &url.authority, url.authorization());
        format!(
            "POST {base}{path} HTTP/1.1\r\nHost: {host}\r\n{token}Content-Type: {content_type}\r\n{lines}\r\n"
        )
    }

    /// The whole good request.
    fn bytes(&self, url: &Url) -> Vec<u8> {
        format!("{}{}", self.head(url, &format!("Content-Length: {}\r\n", self.body.len())), self.body)
            .into_bytes()
    }
}

/// One that must be refused: what it is, its bytes, and the statuses that are right.
type Malformed = (&'static str, Vec<u8>, &'static [u16]);

/// For more bytes than a server needs to read: closing on them may lose its answer on the way.
const CLOSED: u16 = 0;

/// Sends each and holds the answer against what is right; then a good request must be answered.
fn all_refused(url: &Url, cases: Vec<Malformed>) -> Check {
    for (what, bytes, statuses) in cases {
        let reply = exchange(url, &bytes).map_err(|why| format!("{what}: {why}"))?;
        let status = reply.as_ref().map_or(CLOSED, |r| r.status);
        ensure(statuses.contains(&status), || {
            let got = reply
                .map_or("a closed connection".to_owned(), |r| format!("{}: {:.200}", r.status, r.text()));
            format!("{what}: expected {}, got {got}", or(statuses))
        })?;
        is_alive(url).map_err(|why| format!("after {what}: {why}"))?;
    }
    Ok(())
}

/// A good request on a new connection is answered.
fn is_alive(url: &Url) -> Check {
    let mut connection = Connection::open(url)?;
    connection
        .send(&request(url, "GET", "/health", &[], None))
        .map_err(|e| format!("a good request: {e}"))?;
    let status = connection.reply(false).map_err(|why| format!("a good request: {why}"))?.map(|r| r.status);
    equal("status of a good request", &status, &Some(200))
}

fn at_each_host(target: &Target, check: impl Fn(&Url, &Probe) -> Check) -> Check {
    target.hosts().into_iter().try_for_each(|(part, url)| {
        check(url, &probe(part)).map_err(|why| format!("{why} (at the {} service)", part.as_str()))
    })
}

fn request_lines(target: &Target) -> Check {
    at_each_host(target, |url, _| {
        let line = |line: &str| format!("{line}\r\nHost: {}\r\n\r\n", url.authority).into_bytes();
        all_refused(
            url,
            vec![
                ("a single word", b"GARBAGE\r\n\r\n".to_vec(), &[400]),
                ("a line without a version", line("GET /health"), &[400, 505]),
                ("two spaces", line("GET  /health HTTP/1.1"), &[400]),
                ("a space at the front", line(" GET /health HTTP/1.1"), &[400]),
                ("a space at the end", line("GET /health HTTP/1.1 "), &[400, 505]),
                ("a tab for a space", line("GET\t/health\tHTTP/1.1"), &[400]),
                ("four words", line("GET /health x HTTP/1.1"), &[400, 505]),
                ("no target", line("GET  HTTP/1.1"), &[400]),
                ("a target without a slash", line("GET health HTTP/1.1"), &[400]),
                ("a control character in the target", line("GET /hea\x01lth HTTP/1.1"), &[400]),
                ("a NUL in the target", line("GET /health\0 HTTP/1.1"), &[400]),
                ("bytes beyond ASCII in the target", line("GET /é HTTP/1.1"), &[400, 404]),
                ("a method that is no token", line("G(T /health HTTP/1.1"), &[400]),
                ("a version in lower case", line("GET /health http/1.1"), &[400, 505]),
                ("a version of two digits", line("GET /health HTTP/1.10"), &[400, 505]),
                ("no version number", line("GET /health HTTP/"), &[400, 505]),
                ("another protocol", line("GET /health ICY/1.1"), &[400, 505]),
                ("HTTP/2.0", line("GET /health HTTP/2.0"), &[505]),
                ("HTTP/0.9", line("GET /health HTTP/0.9"), &[400, 505]),
                (
                    "bare line feeds",
                    format!("GET /health HTTP/1.1\nHost: {}\n\n", url.authority).into_bytes(),
                    &[400],
                ),
                ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400, 505]),
                ("a TLS hello", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n".to_vec(), &[400]),
            ],
        )
    })
}

fn headers(target: &Target) -> Check {
    at_each_host(target, |url, _| {
        let with = |lines: &[u8]| {
            let head = format!("GET {}/health HTTP/1.1\r\nHost: {}\r\n", url.base, url.authority);
            [head.as_bytes(), lines, b"\r\n\r\n"].concat()
        };
        all_refused(
            url,
            vec![
                ("a header without a colon", with(b"X-Header"), &[400]),
                ("a header without a name", with(b": value"), &[400]),
                ("a space before the colon", with(b"X-Header : value"), &[400]),
                ("a space in a name", with(b"X Header: value"), &[400]),
                ("a name that is no token", with(b"X[]: value"), &[400]),
                ("a name beyond ASCII", with("Ü: value".as_bytes()), &[400]),
                ("a folded value", with(b"X-Header: one\r\n two"), &[400]),
                ("a folded value, by a tab", with(b"X-Header: one\r\n\ttwo"), &[400]),
                ("a space before the first name", with(b" X-Header: value"), &[400]),
                ("a NUL in a value", with(b"X-Header: a\0b"), &[400]),
                ("a control character in a value", with(b"X-Header: a\x01b"), &[400]),
                ("a DEL in a value", with(b"X-Header: a\x7fb"), &[400]),
                ("a bare CR in a value", with(b"X-Header: a\rb"), &[400]),
                ("a bare LF between headers", with(b"X-Header: a\nX-Other: b"), &[400]),
            ],
        )
    })
}

fn hosts(target: &Target) -> Check {
    at_each_host(target, |url, _| {
        let with = |lines: &str| format!("GET {}/health HTTP/1.1\r\n{lines}\r\n", url.base).into_bytes();
        let two = format!("Host: {0}\r\nHost: {0}\r\n", url.authority);
        all_refused(url, vec![("no Host", with(""), &[400]), ("two Hosts", with(&two), &[400])])
    })
}

fn legal_oddities(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let (base, host) = (&url.base, &url.authority);
        let cases = [
            (
                "an absolute target",
                format!("GET http://{host}{base}/health HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            ),
            ("header names in any case", format!("GET {base}/health HTTP/1.1\r\nhOsT: {host}\r\n\r\n")),
            (
                "no white space behind the colon",
                format!("GET {base}/health HTTP/1.1\r\nHost:{host}\r\nX:y\r\n\r\n"),
            ),
            (
                "white space around a value",
                format!("GET {base}/health HTTP/1.1\r\nHost: \t {host} \t\r\n\r\n"),
            ),
            ("an empty value", format!("GET {base}/health HTTP/1.1\r\nHost: {host}\r\nX-Empty:\r\n\r\n")),
            (
                "every character of a name",
                format!("GET {base}/health HTTP/1.1\r\nHost: {host}\r\n!#$%&'*+-.^_`|~09aZ: x\r\n\r\n"),
            ),
            (
                "bytes beyond ASCII in a value",
                format!("GET {base}/health HTTP/1.1\r\nHost: {host}\r\nX: é\r\n\r\n"),
            ),
            (
                "the same header twice",
                format!("GET {base}/health HTTP/1.1\r\nHost: {host}\r\nX: 1\r\nX: 2\r\n\r\n"),
            ),
            (
                "a GET with a body",
                format!("GET {base}/health HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}"),
            ),
        ];
        for (what, text) in cases {
            let status =
                exchange(url, text.as_bytes()).map_err(|why| format!("{what}: {why}"))?.map(|r| r.status);
            equal(&format!("status of {what}"), &status, &Some(200))?;
        }
        let leading = probe.head(url, &format!("Content-Length: 00{}\r\n", probe.body.len())) + probe.body;
        let status = exchange(url, leading.as_bytes())?.map(|r| r.status);
        ensure(status == Some(probe.status) || status == Some(400), || {
            format!("a Content-Length with zeros in front: expected {} or 400, got {status:?}", probe.status)
        })?;
        let old = format!("GET {base}/health HTTP/1.0\r\nHost: {host}\r\n\r\n");
        let status = exchange(url, old.as_bytes())?.map(|r| r.status);
        ensure(matches!(status, Some(200 | 505)), || format!("HTTP/1.0: expected 200 or 505, got {status:?}"))
    })
}

fn huge_heads(target: &Target) -> Check {
    at_each_host(target, |url, _| {
        let with = |lines: &str| {
            format!("GET {}/health HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", url.base, url.authority).into_bytes()
        };
        let many = |count: usize| (0..count).map(|i| format!("X-{i}: y\r\n")).collect::<String>();
        let long = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes));
        let target_of = |bytes: usize| {
            format!(
                "GET {}/health?{} HTTP/1.1\r\nHost: {}\r\n\r\n",
                url.base,
                "x".repeat(bytes),
                url.authority
            )
        };
        for (what, bytes) in [
            ("as many headers as the limit", with(&many(HEADERS_MAX - 1))),
            ("a header of 8 KiB", with(&long(8 << 10))),
            ("a target of 8 KiB", target_of(8 << 10).into_bytes()),
        ] {
            let status = exchange(url, &bytes).map_err(|why| format!("{what}: {why}"))?.map(|r| r.status);
            equal(&format!("status of {what}"), &status, &Some(200))?;
        }
        all_refused(
            url,
            vec![
                ("one header more than the limit", with(&many(HEADERS_MAX)), &[431]),
                ("a thousand headers", with(&many(1000)), &[431]),
                ("a header over the limit", with(&long(HEAD_BYTES_MAX)), &[431]),
                ("a target over the limit", target_of(HEAD_BYTES_MAX).into_bytes(), &[414, 431]),
                ("a megabyte of head", with(&long(1 << 20)), &[431, CLOSED]),
                ("a line without an end", vec![b'A'; 1 << 20], &[400, 414, 431, CLOSED]),
            ],
        )
    })
}

fn content_lengths(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let length = probe.body.len();
        let with = |lines: String| (probe.head(url, &lines) + probe.body).into_bytes();
        let one = |value: &str| with(format!("Content-Length: {value}\r\n"));
        all_refused(
            url,
            vec![
                ("a length with a plus", one(&format!("+{length}")), &[400]),
                ("a negative length", one("-1"), &[400]),
                ("a hexadecimal length", one("0x5"), &[400]),
                ("a list of lengths", one(&format!("{length},{length}")), &[400]),
                ("a list of lengths with a space", one(&format!("{length}, {length}")), &[400]),
                ("two words", one(&format!("{length} {length}")), &[400]),
                ("no length", one(""), &[400]),
                ("a word", one("abc"), &[400]),
                ("a length and more", one(&format!("{length};")), &[400]),
                ("a fraction", one(&format!("{length}.0")), &[400]),
                ("digits beyond ASCII", one("５"), &[400]),
                (
                    "two different lengths",
                    with(format!("Content-Length: {length}\r\nContent-Length: 1\r\n")),
                    &[400],
                ),
                (
                    "the same length twice",
                    with(format!("Content-Length: {length}\r\nContent-Length: {length}\r\n")),
                    &[400],
                ),
                (
                    "the same in other letters",
                    with(format!("Content-Length: {length}\r\ncontent-length: {length}\r\n")),
                    &[400],
                ),
                ("a length of 2^64 - 1", one("18446744073709551615"), &[400, 413]),
                ("a length of 20 digits", one("99999999999999999999"), &[400, 413]),
                ("a length of 2^64 + 2", one("18446744073709551618"), &[400, 413]),
            ],
        )
    })
}

fn huge_bodies(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        for length in [BODY_BYTES_MAX + 1, 1 << 30, 1 << 40] {
            // The body is not sent, nor its end told: the answer must come from the head alone.
            let mut connection = Connection::open(url)?;
            let head = probe.head(url, &format!("Content-Length: {length}\r\n"));
            connection.send(head.as_bytes()).map_err(|e| format!("sending a head: {e}"))?;
            let status = connection.reply(false)?.map(|r| r.status);
            equal(&format!("status of a body of {length} bytes, before it is sent"), &status, &Some(413))?;
            is_alive(url)?;
        }
        Ok(())
    })
}

fn length_required(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        all_refused(
            url,
            vec![
                ("a POST without Content-Length", probe.head(url, "").into_bytes(), &[411]),
                ("a body without Content-Length", (probe.head(url, "") + probe.body).into_bytes(), &[411]),
            ],
        )
    })
}

fn transfer_encodings(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let (length, chunks) = (probe.body.len(), in_chunks(probe.body, 3));
        // Once coded and once plain: whichever of the two a server prefers, it would find what it looks for.
        let plain = |lines: String| (probe.head(url, &lines) + probe.body).into_bytes();
        let with = |lines: String| (probe.head(url, &lines) + &chunks).into_bytes();
        let coded = |coding: &str| with(format!("Transfer-Encoding: {coding}\r\n"));
        all_refused(
            url,
            vec![
                (
                    "a length and chunks",
                    with(format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
                    &[400],
                ),
                (
                    "a length that is right, and chunks that are none",
                    plain(format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
                    &[400],
                ),
                (
                    "chunks and a length",
                    with(format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n")),
                    &[400],
                ),
                ("an unknown coding", coded("gzip"), &[400, 411, 501]),
                ("a coding that looks like chunked", coded("xchunked"), &[400, 411, 501]),
                ("chunked, then another", coded("chunked, gzip"), &[400, 411, 501]),
                ("chunked twice", coded("chunked, chunked"), &[400, 411, 501]),
                ("a quoted coding", coded("\"chunked\""), &[400, 411, 501]),
                ("no coding", coded(""), &[400, 411, 501]),
                ("identity", coded("identity"), &[400, 411, 501]),
                (
                    "two lines of codings",
                    with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned()),
                    &[400, 411, 501],
                ),
            ],
        )
    })
}

fn chunked(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        for size in [1, 3, probe.body.len()] {
            let text = probe.head(url, "Transfer-Encoding: chunked\r\n") + &in_chunks(probe.body, size);
            let status = exchange(url, text.as_bytes())?.map(|r| r.status);
            ensure(status == Some(probe.status) || matches!(status, Some(411 | 501)), || {
                format!("chunks of {size} bytes: expected {}, 411 or 501, got {status:?}", probe.status)
            })?;
        }
        is_alive(url)
    })
}

fn bad_chunks(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let (body, length) = (probe.body, probe.body.len());
        let with = |chunks: &str| (probe.head(url, "Transfer-Encoding: chunked\r\n") + chunks).into_bytes();
        let refusals: &[u16] = &[400, 408, 411, 413, 501];
        all_refused(
            url,
            vec![
                ("a size that is no number", with(&format!("zz\r\n{body}\r\n0\r\n\r\n")), refusals),
                ("a negative size", with(&format!("-1\r\n{body}\r\n0\r\n\r\n")), refusals),
                ("a size with a prefix", with(&format!("0x{length:x}\r\n{body}\r\n0\r\n\r\n")), refusals),
                ("a size with a plus", with(&format!("+{length:x}\r\n{body}\r\n0\r\n\r\n")), refusals),
                (
                    "a size of 17 digits",
                    with(&format!("1000000000000000{length:x}\r\n{body}\r\n0\r\n\r\n")),
                    refusals,
                ),
                ("no size", with(&format!("\r\n{body}\r\n0\r\n\r\n")), refusals),
                ("a chunk without its end", with(&format!("{length:x}\r\n{body}0\r\n\r\n")), refusals),
                (
                    "a chunk longer than its size",
                    with(&format!("{:x}\r\n{body}\r\n0\r\n\r\n", length - 1)),
                    refusals,
                ),
                ("bare line feeds", with(&format!("{length:x}\n{body}\n0\n\n")), refusals),
                ("a body over the limit", with(&format!("{:x}\r\n{body}", BODY_BYTES_MAX + 1)), refusals),
            ],
        )?;
        let whole = in_chunks(body, 5);
        never_taken(url, probe, &probe.head(url, "Transfer-Encoding: chunked\r\n"), &whole)
    })
}

fn cut_short(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let head = probe.head(url, &format!("Content-Length: {}\r\n", probe.body.len()));
        never_taken(url, probe, &head, probe.body)?;
        // The whole of what would do, but less than what was announced.
        let head = probe.head(url, &format!("Content-Length: {}\r\n", probe.body.len() + 1));
        never_taken(url, probe, &head, &format!("{} ", probe.body))
    })
}

/// Sends a head with a body cut at every byte, and then the end of the stream: no answer may be that of success.
fn never_taken(url: &Url, probe: &Probe, head: &str, body: &str) -> Check {
    for cut in 0..body.len() {
        let bytes = [head.as_bytes(), &body.as_bytes()[..cut]].concat();
        let status = exchange(url, &bytes)
            .map_err(|why| format!("a body cut at byte {cut}: {why}"))?
            .map(|r| r.status);
        // Some probes are refused even when they are whole, but with a status of their own.
        let taken = status.is_some_and(|s| s < 300 || (s == probe.status && s != 400));
        ensure(!taken, || {
            format!("a body cut at byte {cut} of {}: expected a refusal, got {status:?}", body.len())
        })?;
    }
    is_alive(url)
}

fn pipelined(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let health = format!("GET {}/health HTTP/1.1\r\nHost: {}\r\n\r\n", url.base, url.authority);
        let mut connection = Connection::open(url)?;
        let all =
            [health.as_bytes(), &probe.bytes(url), &request(url, "GET", "/nowhere", &[], None)].concat();
        let _ = connection.send(&all);
        let mut statuses = Vec::new();
        while let Some(reply) = connection.reply(false)? {
            statuses.push(reply.status);
        }
        let expected = [200, probe.status, 404];
        ensure(!statuses.is_empty() && expected.starts_with(&statuses), || {
            format!("three requests in one write: expected {expected:?} or its front, got {statuses:?}")
        })
    })
}

fn pipelined_garbage(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let mut connection = Connection::open(url)?;
        let _ = connection.send(&[&probe.bytes(url), &b"GARBAGE GARBAGE\r\n\r\n"[..]].concat());
        connection.finish();
        let first = connection.reply(false)?.map(|r| r.status);
        equal("status of the request before the garbage", &first, &Some(probe.status))?;
        let second = connection.reply(false)?.map(|r| r.status);
        ensure(matches!(second, None | Some(400)), || {
            format!("the garbage behind it: expected 400 or a closed connection, got {second:?}")
        })?;
        is_alive(url)
    })
}

fn expect_continue(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let lines = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", probe.body.len());
        let mut connection = Connection::open(url)?;
        connection.send(probe.head(url, &lines).as_bytes()).map_err(|e| format!("sending a head: {e}"))?;
        let first = connection.reply(false)?;
        equal("first answer to Expect: 100-continue", &first.map(|r| r.status), &Some(100))?;
        connection.send(probe.body.as_bytes()).map_err(|e| format!("sending the body: {e}"))?;
        equal("answer after the body", &connection.reply(false)?.map(|r| r.status), &Some(probe.status))?;
        let lines = format!("Content-Length: {}\r\nExpect: 200-maybe\r\n", probe.body.len());
        all_refused(
            url,
            vec![("an unknown expectation", (probe.head(url, &lines) + probe.body).into_bytes(), &[417])],
        )
    })
}

fn trickle(target: &Target) -> Check {
    // At all hosts at once, since each takes its time to give up.
    std::thread::scope(|scope| {
        let hosts: Vec<_> = target
            .hosts()
            .into_iter()
            .map(|(part, url)| (part, scope.spawn(move || trickle_at(url, &probe(part)))))
            .collect();
        hosts.into_iter().try_for_each(|(part, host)| {
            let result = host.join().unwrap_or(Err("the check panicked".to_owned()));
            result.map_err(|why| format!("{why} (at the {} service)", part.as_str()))
        })
    })
}

fn trickle_at(url: &Url, probe: &Probe) -> Check {
    let head = probe.head(url, "Content-Length: 100000\r\n");
    let endless_head = head.trim_end().bytes().chain(b"\r\nX-Slow: ".iter().copied()).chain(repeat(b'y'));
    trickles("a head", url, "", endless_head)?;
    trickles("a body", url, &head, repeat(b' '))
}

/// Sends `first` at once and `slowly` a byte at a time, until the server has had enough.
fn trickles(what: &str, url: &Url, first: &str, slowly: impl Iterator<Item = u8>) -> Check {
    /// Longer than any bound on a request that a service should have.
    const GIVEN_UP_SECONDS_MAX: u64 = 40;
    let began = Instant::now();
    let mut connection = Connection::open(url)?;
    connection.send(first.as_bytes()).map_err(|e| format!("{what} that trickles in: {e}"))?;
    for byte in slowly {
        let waited = began.elapsed();
        ensure(waited < Duration::from_secs(GIVEN_UP_SECONDS_MAX), || {
            format!("{what} that trickles in was still waited for after {waited:?}")
        })?;
        let sent = connection.send(&[byte]).is_ok();
        is_alive(url).map_err(|why| format!("while {what} trickles in: {why}"))?;
        if !sent || connection.has_reacted(Duration::from_millis(300))? {
            break;
        }
    }
    let status = connection.reply(false)?.map(|r| r.status);
    ensure(matches!(status, None | Some(408)), || {
        format!("{what} that trickles in: expected 408 or a closed connection, got {status:?}")
    })?;
    is_alive(url)
}

fn silent(target: &Target) -> Check {
    at_each_host(target, |url, _| {
        let silent = (0..3).map(|_| Connection::open(url)).collect::<Result<Vec<_>, _>>()?;
        is_alive(url).map_err(|why| format!("beside {} silent connections: {why}", silent.len()))
    })
}

fn disappears(target: &Target) -> Check {
    at_each_host(target, |url, probe| {
        let bytes = probe.bytes(url);
        for cut in 0..=bytes.len() {
            let mut connection = Connection::open(url)?;
            let _ = connection.send(&bytes[..cut]);
            drop(connection);
            if cut % 32 == 0 {
                is_alive(url).map_err(|why| format!("after a client that left at byte {cut}: {why}"))?;
            }
        }
        is_alive(url)
    })
}

fn random_bytes(target: &Target) -> Check {
    crate::claim::with_seed(crate::claim::seed(), |rng| {
        at_each_host_with(target, rng, |url, probe, rng| {
            for _ in 0..60 {
                let mut bytes = probe.bytes(url);
                for _ in 0..rng.usize(1..6) {
                    let at = rng.usize(..bytes.len());
                    match rng.u8(..3) {
                        0 => bytes[at] = rng.u8(..),
                        1 => bytes.insert(at, rng.u8(..)),
                        _ => drop(bytes.remove(at)),
                    }
                }
                let reply = exchange(url, &bytes)
                    .map_err(|why| format!("{:?}: {why}", String::from_utf8_lossy(&bytes)))?;
                ensure(reply.as_ref().is_none_or(is_no_failure), || {
                    format!("{:?}: expected no failure, got {reply:?}", String::from_utf8_lossy(&bytes))
                })?;
            }
            is_alive(url)
        })
    })
}

fn at_each_host_with(
    target: &Target,
    rng: &mut fastrand::Rng,
    check: impl Fn(&Url, &Probe, &mut fastrand::Rng) -> Check,
) -> Check {
    target.hosts().into_iter().try_for_each(|(part, url)| check(url, &probe(part), rng))
}

/// 501 and 505 say something about the client, 503 about now; a 500 is a failure.
fn is_no_failure(reply: &Reply) -> bool {
    reply.status < 500 || matches!(reply.status, 501 | 503 | 505)
}

fn in_chunks(body: &str, size: usize) -> String {
    let chunk = |bytes: &[u8]| format!("{:x}\r\n{}\r\n", bytes.len(), String::from_utf8_lossy(bytes));
    body.as_bytes().chunks(size).map(chunk).collect::<String>() + "0\r\n\r\n"
}

fn or(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
}
