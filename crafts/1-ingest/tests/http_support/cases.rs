//! What is accepted and what is refused, one line each, with the place that says so. Smuggling above all: what two readers
//! could take for two different requests must be refused (RFC 9112 section 11.2).

use super::BODY_BYTES_MAX;
use contracts::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use std::io::Write;

/// The bytes of a connection, and what must become of them.
pub(crate) struct Case {
    pub(crate) why: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The requests that reach a worker.
    pub(crate) calls: Vec<String>,
    /// Status and code of the refusal behind them.
    pub(crate) refusal: Option<&'static str>,
}

fn case(why: &'static str, bytes: impl Into<Vec<u8>>, calls: &[&str], refusal: Option<&'static str>) -> Case {
    Case { why, bytes: bytes.into(), calls: calls.iter().map(|c| (*c).to_owned()).collect(), refusal }
}

fn taken(why: &'static str, bytes: impl Into<Vec<u8>>, call: &str) -> Case {
    case(why, bytes, &[call], None)
}

fn refused(why: &'static str, bytes: impl Into<Vec<u8>>, refusal: &'static str) -> Case {
    case(why, bytes, &[], Some(refusal))
}

/// A GET of this request line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: x\r\n\r\n")
}

/// A GET with these header lines.
fn with(lines: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: x\r\n", lines, b"\r\n\r\n"].concat()
}

/// A POST with these header lines and whatever follows.
fn post(lines: &str, rest: impl AsRef<[u8]>) -> Vec<u8> {
    let lines = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
    [format!("POST /m HTTP/1.1\r\nHost: x\r\n{lines}\r\n").as_bytes(), rest.as_ref()].concat()
}

fn chunked(chunks: impl AsRef<[u8]>) -> Vec<u8> {
    post("Transfer-Encoding: chunked", chunks)
}

fn coded(coding: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = body.as_ref().len();
    post(&format!("Content-Encoding: {coding}\r\nContent-Length: {length}"), body)
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

pub(crate) fn all() -> Vec<Case> {
    let groups: [fn() -> Vec<Case>; 9] = [
        request_lines,
        headers,
        hosts,
        lengths,
        transfer_encodings,
        chunks,
        codings,
        limits,
        connections_and_expectations,
    ];
    groups.iter().flat_map(|group| group()).collect()
}

const LINE: Option<&str> = Some("400 bad_request_line");
const GET: &str = "GET / []";

/// RFC 9112 sections 2 and 3.
fn request_lines() -> Vec<Case> {
    let bad = |why, text: &str| case(why, line(text), &[], LINE);
    vec![
        taken("the least there is", line("GET / HTTP/1.1"), GET),
        taken("a query", line("GET /q?a=b&c HTTP/1.1"), "GET /q?a=b&c []"),
        taken("a second question mark is data", line("GET /q?a?b HTTP/1.1"), "GET /q?a?b []"),
        taken("an empty query", line("GET /q? HTTP/1.1"), "GET /q []"),
        taken("any token is a method", line("M-SEARCH!1 / HTTP/1.1"), "M-SEARCH!1 / []"),
        taken("methods are case-sensitive", line("get / HTTP/1.1"), "get / []"),
        taken("escapes are left alone", line("GET /%41%zz HTTP/1.1"), "GET /%41%zz []"),
        taken("dots are left alone", line("GET /a/../b HTTP/1.1"), "GET /a/../b []"),
        taken("two slashes are a path", line("GET //a HTTP/1.1"), "GET //a []"),
        taken("an absolute target", line("GET http://x:80/a?b HTTP/1.1"), "GET /a?b []"),
        taken("an absolute target without a path", line("GET http://x HTTP/1.1"), GET),
        taken("a query right behind the host", line("GET http://x?a=/b HTTP/1.1"), "GET /?a=/b []"),
        taken("a scheme in capitals", line("GET HTTP://x/a HTTP/1.1"), "GET /a []"),
        taken("an IPv6 host", line("GET http://[::1]:80/a HTTP/1.1"), "GET /a []"),
        taken("empty lines before (2.2)", format!("\r\n\r\n{}", line("GET / HTTP/1.1")), GET),
        taken("HTTP/1.0", line("GET / HTTP/1.0"), GET),
        case("nothing at all", "", &[], None),
        case("nothing but empty lines", "\r\n\r\n", &[], None),
        case("a word", "GARBAGE\r\n\r\n", &[], LINE),
        bad("no version", "GET /"),
        bad("HTTP/0.9, more or less", "GET / "),
        bad("no target", "GET  HTTP/1.1"),
        bad("two spaces", "GET  / HTTP/1.1"),
        bad("two spaces before the version", "GET /  HTTP/1.1"),
        bad("a tab for a space", "GET\t/\tHTTP/1.1"),
        bad("a space in front", " GET / HTTP/1.1"),
        bad("a space behind", "GET / HTTP/1.1 "),
        bad("a space in the target, where some would end it", "GET /a b HTTP/1.1"),
        bad("no method", " / HTTP/1.1"),
        bad("a method that is no token", "G@T / HTTP/1.1"),
        bad("a method in brackets", "(GET) / HTTP/1.1"),
        bad("no slash", "GET a HTTP/1.1"),
        bad("a fragment", "GET /#a HTTP/1.1"),
        bad("bytes beyond ASCII", "GET /é HTTP/1.1"),
        bad("an asterisk", "OPTIONS * HTTP/1.1"),
        bad("an authority", "CONNECT x:80 HTTP/1.1"),
        bad("another scheme", "GET ftp://x/ HTTP/1.1"),
        bad("no host in the target", "GET http:///a HTTP/1.1"),
        bad("a user in the target (RFC 9110 4.2.4)", "GET http://u@x/ HTTP/1.1"),
        bad("a version in lower case", "GET / http/1.1"),
        bad("a version of two digits", "GET / HTTP/1.10"),
        bad("a version of three", "GET / HTTP/1.1.1"),
        bad("a version without digits", "GET / HTTP/"),
        bad("a version with a sign", "GET / HTTP/+1.1"),
        bad("another protocol", "GET / ICY/1.1"),
        refused("HTTP/2.0", line("GET / HTTP/2.0"), "505 bad_version"),
        refused("HTTP/1.2", line("GET / HTTP/1.2"), "505 bad_version"),
        refused("HTTP/0.9", line("GET / HTTP/0.9"), "505 bad_version"),
        case("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[], LINE),
        refused("TLS", b"\x16\x03\x01\0\x05\x01\0\0\x01\0\r\n\r\n", "400 bad_head"),
        refused("bare line feeds", "GET / HTTP/1.1\nHost: x\n\n", "400 bad_head"),
        refused("a bare line feed before", format!("\n{}", line("GET / HTTP/1.1")), "400 bad_head"),
        refused("a bare carriage return before", format!("\r{}", line("GET / HTTP/1.1")), "400 bad_head"),
        refused("a bare carriage return for a space", line("GET\r/ HTTP/1.1"), "400 bad_head"),
        refused("a NUL in the target", line("GET /\0 HTTP/1.1"), "400 bad_head"),
        refused("a DEL in the target", line("GET /\x7f HTTP/1.1"), "400 bad_head"),
        refused("two carriage returns", "GET / HTTP/1.1\r\r\nHost: x\r\n\r\n", "400 bad_head"),
    ]
}

/// RFC 9112 section 5.
fn headers() -> Vec<Case> {
    let bad = |why, lines: &[u8]| refused(why, with(lines), "400 bad_header");
    let bad_byte = |why, lines: &[u8]| refused(why, with(lines), "400 bad_head");
    vec![
        taken("no white space", with(b"X:y"), GET),
        taken("much white space", with(b"X: \t y \t "), GET),
        taken("an empty value", with(b"X:"), GET),
        taken("a value of white space", with(b"X: \t "), GET),
        taken("every byte of a name", with(b"!#$%&'*+-.^_`|~09azAZ: x"), GET),
        taken("bytes beyond ASCII in a value", with(b"X: \xc3\xa9 \xff\x80"), GET),
        taken("a tab in a value", with(b"X: a\tb"), GET),
        taken("colons in a value", with(b"X: a:b: c"), GET),
        taken("the same name twice", with(b"X: 1\r\nX: 2"), GET),
        bad("no colon", b"X"),
        bad("no name", b": y"),
        bad("a space before the colon (5.1)", b"X : y"),
        bad("a tab before the colon", b"X\t: y"),
        bad("a space in a name", b"X Y: z"),
        bad("a name that is no token", b"X[]: y"),
        bad("a name in quotes", b"\"X\": y"),
        bad("a name beyond ASCII", b"X\xc3\xbc: y"),
        bad("a folded value (5.2)", b"X: y\r\n z"),
        bad("a folded value, by a tab", b"X: y\r\n\tz"),
        bad("a fold before the first header", b" X: y"),
        bad("a folded length", b"Content-Length:\r\n 5"),
        bad_byte("a NUL in a value", b"X: a\0b"),
        bad_byte("a control character in a value", b"X: a\x01b"),
        bad_byte("a DEL in a value", b"X: a\x7fb"),
        bad_byte("a vertical tab, which some take for white space", b"X:\x0by"),
        bad_byte("a form feed before a length", b"Content-Length:\x0c5"),
        bad_byte("a NUL in a name", b"X\0: y"),
        bad_byte("a bare carriage return in a value", b"X: a\rY: b"),
        bad_byte("a bare line feed between headers", b"X: a\nContent-Length: 5"),
        bad_byte("a bare line feed at the end", b"X: a\n"),
        bad_byte("two carriage returns", b"X: a\r\r\nY: b"),
        refused("a head that ends with bare line feeds", "GET / HTTP/1.1\r\nHost: x\n\nrest", "400 bad_head"),
        refused("a head cut short", "GET / HTTP/1.1\r\nHost: x\r\n", "400 cut_short"),
        refused("a head cut within its end", "GET / HTTP/1.1\r\nHost: x\r\n\r", "400 cut_short"),
        refused("a line cut short", "GET / HT", "400 cut_short"),
        refused("a single carriage return", "\r", "400 cut_short"),
    ]
}

/// RFC 9112 section 3.2.
fn hosts() -> Vec<Case> {
    let hosts = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n");
    let bad = |why, lines: &str| refused(why, hosts(lines), "400 bad_header");
    vec![
        taken("a name and a port", hosts("Host: a.example:8080\r\n"), GET),
        taken("a name in any case", hosts("hOSt: x\r\n"), GET),
        taken("an IPv6 address", hosts("Host: [::1]:80\r\n"), GET),
        taken("an empty host, which a URI may have", hosts("Host:\r\n"), GET),
        bad("no host", ""),
        bad("two hosts", "Host: x\r\nHost: y\r\n"),
        bad("the same host twice", "Host: x\r\nhost: x\r\n"),
        bad("two hosts in one", "Host: x y\r\n"),
        bad("a path", "Host: x/y\r\n"),
        bad("a user", "Host: u@x\r\n"),
        bad("bytes beyond ASCII", "Host: é\r\n"),
    ]
}

/// RFC 9112 section 6.2.
fn lengths() -> Vec<Case> {
    let length = |value: &str| post(&format!("Content-Length: {value}"), "hello");
    let bad = |why, value: &str| refused(why, length(value), "400 bad_header");
    let hello = "POST /m [hello]";
    vec![
        taken("a length", length("5"), hello),
        taken("white space around it", length(" \t5 \t"), hello),
        taken("zeros in front", length("0005"), hello),
        taken("more zeros than a number has digits", length("00000000000000000000000000005"), hello),
        taken("a body of nothing", post("Content-Length: 0", ""), "POST /m []"),
        taken("a GET with a body", [&with(b"Content-Length: 2")[..], b"ab"].concat(), "GET / [ab]"),
        taken("a DELETE without a length", line("DELETE /x HTTP/1.1"), "DELETE /x []"),
        refused("a POST without a length", post("", ""), "411 length_required"),
        refused("a PUT without a length", line("PUT /m HTTP/1.1"), "411 length_required"),
        refused("a PATCH without a length", line("PATCH /m HTTP/1.1"), "411 length_required"),
        bad("a plus", "+5"),
        bad("a minus", "-5"),
        bad("a negative zero", "-0"),
        bad("hexadecimal", "0x5"),
        bad("a list of the same", "5, 5"),
        bad("a list of others", "5,6"),
        bad("a list that ends with a comma", "5,"),
        bad("two words", "5 5"),
        bad("a fraction", "5.0"),
        bad("an exponent", "5e0"),
        bad("an underscore", "1_0"),
        bad("nothing", ""),
        bad("a word", "five"),
        bad("digits beyond ASCII", "５"),
        bad("the same twice", "5\r\nContent-Length: 5"),
        bad("another twice, in other letters", "5\r\ncontent-LENGTH: 6"),
        bad("a good one behind a bad one", "x\r\nContent-Length: 5"),
        refused("2^64 - 1", length("18446744073709551615"), "413 body_too_large"),
        refused(
            "2^64 + 5, which some would take for 5",
            length("18446744073709551621"),
            "413 body_too_large",
        ),
        refused("a body cut short", post("Content-Length: 6", "hello"), "400 cut_short"),
        refused("a body that never began", post("Content-Length: 6", ""), "400 cut_short"),
        case(
            "what follows a body is the next request",
            [length("5"), line("GET / HTTP/1.1").into()].concat(),
            &[hello, GET],
            None,
        ),
        case(
            "a request within a body is a body",
            post("Content-Length: 27", line("GET / HTTP/1.1")),
            &["POST /m [GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n]"],
            None,
        ),
        case(
            "garbage behind a request",
            [&length("5")[..], b"\x00\r\n\r\n"].concat(),
            &[hello],
            Some("400 bad_head"),
        ),
        case(
            "a length on the first, none on the second",
            [length("5"), post("", "")].concat(),
            &[hello],
            Some("411 length_required"),
        ),
    ]
}

/// RFC 9112 sections 6.1 and 6.3.
fn transfer_encodings() -> Vec<Case> {
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    let coding = |value: &str| post(&format!("Transfer-Encoding: {value}"), CHUNKS);
    let unknown = |why, value: &str| refused(why, coding(value), "501 transfer_encoding");
    let both = |why, lines: &str| refused(why, post(lines, CHUNKS), "400 bad_header");
    vec![
        taken("chunked", coding("chunked"), "POST /m [hello]"),
        taken("in any case", coding("CHUNKed"), "POST /m [hello]"),
        taken(
            "on a GET",
            [&with(b"Transfer-Encoding: chunked")[..], CHUNKS.as_bytes()].concat(),
            "GET / [hello]",
        ),
        both("a length before it", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        both("a length behind it", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        both("a length that is right", "Content-Length: 15\r\nTransfer-Encoding: chunked"),
        both("a length of nothing", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
        both("a length beside an unknown coding", "Content-Length: 5\r\nTransfer-Encoding: identity"),
        both("two lengths beside it", "Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"),
        unknown("identity, which RFC 9112 took away", "identity"),
        unknown("gzip", "gzip"),
        unknown("gzip, then chunked", "gzip, chunked"),
        unknown("chunked, then gzip", "chunked, gzip"),
        unknown("chunked twice", "chunked, chunked"),
        unknown("chunked on two lines", "chunked\r\nTransfer-Encoding: chunked"),
        unknown("chunked, and identity on a second line", "chunked\r\nTransfer-Encoding: identity"),
        unknown("nothing", ""),
        unknown("an empty element", "chunked,"),
        unknown("almost chunked", "xchunked"),
        unknown("chunked in quotes", "\"chunked\""),
        unknown("chunked with a parameter", "chunked;q=1"),
        unknown("chunked with something beyond ASCII", "chunked\u{e9}"),
        refused("a vertical tab before it", coding("\x0bchunked"), "400 bad_head"),
        refused("a space before the colon", post("Transfer-Encoding : chunked", CHUNKS), "400 bad_header"),
        refused(
            "HTTP/1.0 has none",
            format!("POST /m HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}"),
            "400 bad_header",
        ),
        taken(
            "a name that only begins so is another header",
            post("Transfer-Encoding-X: chunked\r\nContent-Length: 1", "a"),
            "POST /m [a]",
        ),
        taken(
            "an underscore makes another name",
            post("Transfer_Encoding: chunked\r\nContent-Length: 1", "a"),
            "POST /m [a]",
        ),
    ]
}

/// RFC 9112 section 7.1.
fn chunks() -> Vec<Case> {
    let bad = |why, chunks: &str| refused(why, chunked(chunks), "400 bad_chunk");
    let good = |why, chunks: &str| taken(why, chunked(chunks), "POST /m [hello]");
    let many = |count: usize| "1\r\na\r\n".repeat(count) + "0\r\n\r\n";
    vec![
        good("two chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        good("a size with zeros in front", "0005\r\nhello\r\n00\r\n\r\n"),
        good("extensions", "5;a=b;c=\"d e\"\r\nhello\r\n0;last\r\n\r\n"),
        good("white space before an extension", "5 \t;a\r\nhello\r\n0\r\n\r\n"),
        good("trailers", "5\r\nhello\r\n0\r\nX: y\r\nZ:\r\n\r\n"),
        good("a trailer that names a length is dropped", "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"),
        taken(
            "sizes in both cases of letters",
            chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
            "POST /m [01234567890123456789]",
        ),
        taken("no chunk but the last", chunked("0\r\n\r\n"), "POST /m []"),
        taken(
            "line ends within the data",
            chunked("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
            "POST /m [\\r\\n0\\r\\n\\r\\n]",
        ),
        taken(
            "as many bytes as the limit",
            chunked(many(BODY_BYTES_MAX)),
            &format!("POST /m [{}]", "a".repeat(BODY_BYTES_MAX)),
        ),
        refused("one more", chunked(many(BODY_BYTES_MAX + 1)), "413 body_too_large"),
        refused("one chunk over the limit", chunked("3e9\r\n"), "413 body_too_large"),
        refused("a size of 2^64 - 1", chunked("ffffffffffffffff\r\n"), "413 body_too_large"),
        bad("a size of 2^64 + 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        bad("seventeen digits, though only zeros", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        bad("no size", "\r\nhello\r\n0\r\n\r\n"),
        bad("no size but an extension", ";a\r\nhello\r\n0\r\n\r\n"),
        bad("a size that is no number", "g\r\nhello\r\n0\r\n\r\n"),
        bad("a minus", "-5\r\nhello\r\n0\r\n\r\n"),
        bad("a plus", "+5\r\nhello\r\n0\r\n\r\n"),
        bad("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        bad("a space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
        bad("a space behind the size, and no extension", "5 \r\nhello\r\n0\r\n\r\n"),
        bad("a word behind the size", "5 a\r\nhello\r\n0\r\n\r\n"),
        bad("a bare line feed behind the size", "5\nhello\r\n0\r\n\r\n"),
        bad("a bare line feed in an extension, where some end the line", "5;a\nhello\r\n0\r\n\r\n"),
        bad("a bare carriage return in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        bad("a NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        bad("a chunk longer than its size", "4\r\nhello\r\n0\r\n\r\n"),
        bad("a chunk shorter than its size", "6\r\nhello\r\n0\r\n\r\n"),
        bad("a chunk without its end", "5\r\nhello0\r\n\r\n"),
        bad("a bare line feed behind the data", "5\r\nhello\n0\r\n\r\n"),
        bad("two bytes that are no line end", "5\r\nhelloXX0\r\n\r\n"),
        bad("a last chunk that ends with a bare line feed", "0\n\n"),
        bad("a bare line feed at the very end", "0\r\n\n"),
        bad("a bare carriage return at the very end", "0\r\n\rX"),
        bad("a folded trailer", "0\r\nX: y\r\n z\r\n\r\n"),
        bad("a trailer without a colon", "0\r\nX\r\n\r\n"),
        bad("a trailer without a name", "0\r\n: y\r\n\r\n"),
        bad("a bare line feed in a trailer", "0\r\nX: y\nZ: a\r\n\r\n"),
        refused("chunks without a last one", chunked("5\r\nhello\r\n"), "400 cut_short"),
        refused("a chunk cut short", chunked("5\r\nhel"), "400 cut_short"),
        refused("trailers cut short", chunked("0\r\nX: y\r\n"), "400 cut_short"),
        refused("the last line end cut short", chunked("0\r\n\r"), "400 cut_short"),
        case(
            "what follows the last chunk is the next request",
            [chunked("1\r\na\r\n0\r\n\r\n"), line("GET / HTTP/1.1").into()].concat(),
            &["POST /m [a]", GET],
            None,
        ),
        case(
            "a chunk too many is no request",
            chunked("1\r\na\r\n0\r\n\r\n5\r\nhello\r\n"),
            &["POST /m [a]"],
            LINE,
        ),
        refused(
            "extensions without end",
            chunked(format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(HEAD_BYTES_MAX))),
            "400 bad_chunk",
        ),
        refused(
            "extensions on each of many chunks",
            chunked(format!("1;{}\r\na\r\n", "e".repeat(HEAD_BYTES_MAX / 10)).repeat(11)),
            "400 bad_chunk",
        ),
        refused(
            "trailers without end",
            chunked(format!("0\r\n{}", "X: y\r\n".repeat(HEAD_BYTES_MAX / 6 + 1))),
            "431 head_too_large",
        ),
    ]
}

/// RFC 9110 section 8.4.
fn codings() -> Vec<Case> {
    let (zipped, snapped) = (gzip(b"hello"), snappy(b"hello"));
    let unknown = |why, coding: &str| refused(why, coded(coding, "hello"), "415 bad_content_encoding");
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 1].to_vec();
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0xff;
        bytes
    };
    let chunks = |body: &[u8]| [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    vec![
        taken("gzip", coded("gzip", &zipped), "POST /m [hello]"),
        taken("its old name, in any case", coded("X-GZip", &zipped), "POST /m [hello]"),
        taken(
            "gzip in two members (RFC 1952 2.2)",
            coded("gzip", [gzip(b"he"), gzip(b"llo")].concat()),
            "POST /m [hello]",
        ),
        taken("snappy", coded("snappy", &snapped), "POST /m [hello]"),
        taken("identity", coded("identity", "hello"), "POST /m [hello]"),
        taken("nothing is nothing in every coding", coded("gzip", ""), "POST /m []"),
        taken(
            "gzip in chunks",
            post("Content-Encoding: gzip\r\nTransfer-Encoding: chunked", chunks(&zipped)),
            "POST /m [hello]",
        ),
        unknown("deflate", "deflate"),
        unknown("br", "br"),
        unknown("two codings", "gzip, gzip"),
        unknown("two codings on two lines", "gzip\r\nContent-Encoding: identity"),
        unknown("none", ""),
        refused("no gzip", coded("gzip", "hello"), "400 bad_encoding"),
        refused("gzip cut short", coded("gzip", cut(&zipped)), "400 bad_encoding"),
        refused(
            "gzip with a wrong checksum",
            coded("gzip", flipped(&zipped, zipped.len() - 8)),
            "400 bad_encoding",
        ),
        refused(
            "gzip with a wrong length",
            coded("gzip", flipped(&zipped, zipped.len() - 4)),
            "400 bad_encoding",
        ),
        refused("something behind gzip", coded("gzip", [&zipped[..], b"x"].concat()), "400 bad_encoding"),
        refused("no snappy", coded("snappy", [0xff; 8]), "400 bad_encoding"),
        refused("snappy cut short", coded("snappy", cut(&snapped)), "400 bad_encoding"),
        refused(
            "snappy that announces less",
            coded("snappy", [&[4], &snapped[1..]].concat()),
            "400 bad_encoding",
        ),
        refused(
            "snappy that announces more than it can hold",
            coded("snappy", [0xe7, 0x07, 0]),
            "400 bad_encoding",
        ),
        taken(
            "as many members as the limit",
            coded("gzip", gzip(b"a").repeat(16)),
            "POST /m [aaaaaaaaaaaaaaaa]",
        ),
        refused("a body of empty members", coded("gzip", gzip(b"").repeat(17)), "400 bad_encoding"),
        refused(
            "a bomb in its second member",
            coded("gzip", [gzip(b"a"), gzip(&[0; BODY_BYTES_MAX])].concat()),
            "413 body_too_large",
        ),
        refused("a bomb of gzip", coded("gzip", gzip(&[0; BODY_BYTES_MAX + 1])), "413 body_too_large"),
        refused("a bomb of snappy", coded("snappy", snappy(&[0; BODY_BYTES_MAX + 1])), "413 body_too_large"),
        refused(
            "snappy that announces 4 GiB",
            coded("snappy", [0xff, 0xff, 0xff, 0xff, 0x0f]),
            "413 body_too_large",
        ),
        taken(
            "as many decoded bytes as the limit",
            coded("gzip", gzip(&[b'a'; BODY_BYTES_MAX])),
            &format!("POST /m [{}]", "a".repeat(BODY_BYTES_MAX)),
        ),
    ]
}

fn limits() -> Vec<Case> {
    let count = |headers: usize| {
        let lines: Vec<String> = (1..headers).map(|i| format!("X-{i}: y")).collect();
        with(lines.join("\r\n").as_bytes())
    };
    // Of so many bytes in all.
    let head = |bytes: usize| with(format!("X: {}", "y".repeat(bytes - with(b"X: ").len())).as_bytes());
    let target = |bytes: usize| line(&format!("GET /{} HTTP/1.1", "x".repeat(bytes)));
    let body = |bytes: usize| post(&format!("Content-Length: {bytes}"), "a".repeat(bytes));
    vec![
        taken("as many headers as the limit", count(HEADERS_MAX), GET),
        refused("one more", count(HEADERS_MAX + 1), "431 too_many_headers"),
        refused("many more", count(HEADERS_MAX * 10), "431 too_many_headers"),
        taken("a head as long as the limit", head(HEAD_BYTES_MAX), GET),
        refused("one byte more", head(HEAD_BYTES_MAX + 1), "431 head_too_large"),
        refused("a long target", target(HEAD_BYTES_MAX), "431 head_too_large"),
        refused("a line without an end", "A".repeat(HEAD_BYTES_MAX + 1), "431 head_too_large"),
        refused("a line that is cut at the limit", "A".repeat(HEAD_BYTES_MAX), "400 cut_short"),
        refused(
            "what is wrong first decides, not what is wrong as well",
            with(format!("bad\r\n{}", "X: y\r\n".repeat(HEAD_BYTES_MAX)).as_bytes()),
            "400 bad_header",
        ),
        taken(
            "a body as long as the limit",
            body(BODY_BYTES_MAX),
            &format!("POST /m [{}]", "a".repeat(BODY_BYTES_MAX)),
        ),
        refused("one byte more in the body", body(BODY_BYTES_MAX + 1), "413 body_too_large"),
        refused(
            "much more, and none of it sent",
            post("Content-Length: 1099511627776", ""),
            "413 body_too_large",
        ),
        case(
            "a limit is for each request",
            [head(HEAD_BYTES_MAX), head(HEAD_BYTES_MAX), head(HEAD_BYTES_MAX)].concat(),
            &[GET, GET, GET],
            None,
        ),
    ]
}

/// RFC 9112 section 9.6, RFC 9110 section 10.1.1. What follows the last request of a connection is not read.
fn connections_and_expectations() -> Vec<Case> {
    let two = |lines: &str| [with(lines.as_bytes()), with(b"X: y")].concat();
    let ends = |why, lines: &str| case(why, two(lines), &[GET], None);
    let lives = |why, lines: &str| case(why, two(lines), &[GET, GET], None);
    let old = |lines: &str| format!("GET / HTTP/1.0\r\nHost: x\r\n{lines}\r\n").repeat(2);
    let expect = |value: &str| post(&format!("Content-Length: 1\r\nExpect: {value}"), "a");
    vec![
        ends("close", "Connection: close"),
        ends("close in any case", "connection: CLOSE"),
        ends("close in a list", "Connection: x, close ,y"),
        ends("close on a second line", "Connection: keep-alive\r\nConnection: close"),
        ends("close wins", "Connection: close, keep-alive"),
        lives("keep-alive", "Connection: keep-alive"),
        lives("something that begins so", "Connection: closed"),
        lives("close in another header", "X-Connection: close"),
        lives("an upgrade that nobody takes up", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"),
        case("HTTP/1.0 ends", old(""), &[GET], None),
        case("HTTP/1.0 with keep-alive lives", old("Connection: Keep-Alive\r\n"), &[GET, GET], None),
        case("HTTP/1.0 with both ends", old("Connection: keep-alive, close\r\n"), &[GET], None),
        taken("100-continue", expect("100-continue"), "POST /m [a]"),
        taken("in any case", expect("100-Continue"), "POST /m [a]"),
        refused("another expectation", expect("200-maybe"), "417 bad_expectation"),
        refused("a list", expect("100-continue, 100-continue"), "417 bad_expectation"),
        refused("two lines", expect("100-continue\r\nExpect: 100-continue"), "417 bad_expectation"),
        refused("nothing", expect(""), "417 bad_expectation"),
    ]
}
