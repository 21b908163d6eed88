//! HTTP/1.1 read a second time, slowly: all bytes at hand, lines cut at CR LF, no state. It shares nothing with what it is
//! held against but the bounds.

use super::{BODY_BYTES_MAX, call};
use contracts::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use std::io::Read;

/// The requests that a strict reader finds before the first thing that is none.
pub(crate) fn calls(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(request) = read(&mut bytes) {
        found.push(request.call);
        if request.is_last {
            break;
        }
    }
    found
}

struct Request {
    call: String,
    is_last: bool,
}

fn read(bytes: &mut &[u8]) -> Option<Request> {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        *bytes = rest;
    }
    let end = find(bytes, b"\r\n\r\n")?;
    if end + 4 > HEAD_BYTES_MAX {
        return None;
    }
    // One character a byte, so that places stay what they are.
    let head: String = bytes[..end].iter().map(|b| char::from(*b)).collect();
    if head.replace("\r\n", "").chars().any(|c| c != '\t' && c.is_ascii_control()) {
        return None;
    }
    let mut lines = head.split("\r\n");
    let (method, path, query, is_old) = request_line(lines.next()?)?;
    let headers = lines.map(header).collect::<Option<Vec<_>>>()?;
    let all = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.as_str()).collect()
    };
    let hosts = all("host");
    if headers.len() > HEADERS_MAX || hosts.len() != 1 || !is_host(hosts[0]) {
        return None;
    }
    match &all("expect")[..] {
        [] => {}
        [value] if value.eq_ignore_ascii_case("100-continue") => {}
        _ => return None,
    }
    let mut rest = &bytes[end + 4..];
    let body = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) if ["POST", "PUT", "PATCH"].contains(&method.as_str()) => return None,
        ([], []) => Vec::new(),
        ([digits], []) => take_length(digits, &mut rest)?,
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && !is_old => take_chunks(&mut rest)?,
        _ => return None,
    };
    let body = decoded(&all("content-encoding"), body)?;
    let options: Vec<String> =
        all("connection").join(",").split(',').map(|o| o.trim().to_ascii_lowercase()).collect();
    let asked = |option: &str| options.iter().any(|o| o == option);
    *bytes = rest;
    Some(Request {
        call: call(&method, &path, &query, &body),
        is_last: asked("close") || (is_old && !asked("keep-alive")),
    })
}

fn request_line(line: &str) -> Option<(String, String, String, bool)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else { return None };
    let is_old = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return None,
    };
    let is_good = is_token(method) && target.chars().all(|c| ('!'..='~').contains(&c) && c != '#');
    let target = match target.to_ascii_lowercase().strip_prefix("http://") {
        None => target.to_owned(),
        Some(_) => {
            let rest = &target["http://".len()..];
            let host = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
            if host.is_empty() || !is_host(host) {
                return None;
            }
            let path = &rest[host.len()..];
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        }
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    (is_good && path.starts_with('/')).then(|| (method.to_owned(), path.to_owned(), query.to_owned(), is_old))
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    is_token(name).then(|| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

fn is_host(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:[]".contains(c))
}

fn take_length(digits: &str, rest: &mut &[u8]) -> Option<Vec<u8>> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    if length > BODY_BYTES_MAX {
        return None;
    }
    let body = rest.get(..length)?.to_vec();
    *rest = &rest[length..];
    Some(body)
}

/// A chunk by a chunk, each line found by its CR LF.
fn take_chunks(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (mut body, mut extensions) = (Vec::new(), 0);
    loop {
        let line = take_line(rest)?;
        let size_end = line.find([' ', '\t', ';']).unwrap_or(line.len());
        let (digits, extension) = line.split_at(size_end);
        if digits.is_empty() || digits.len() > 16 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        if !extension.is_empty() && !extension.trim_start_matches([' ', '\t']).starts_with(';') {
            return None;
        }
        extensions += extension.len();
        let size = usize::from_str_radix(digits, 16).ok()?;
        if extensions > HEAD_BYTES_MAX || size > BODY_BYTES_MAX - body.len() {
            return None;
        }
        if size == 0 {
            break;
        }
        body.extend_from_slice(rest.get(..size)?);
        *rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    let before = rest.len();
    loop {
        let line = take_line(rest)?;
        if before - rest.len() > HEAD_BYTES_MAX {
            return None;
        }
        if line.is_empty() {
            return Some(body);
        }
        header(&line)?;
    }
}

fn take_line(rest: &mut &[u8]) -> Option<String> {
    let end = find(rest, b"\r\n")?;
    let line: String = rest[..end].iter().map(|b| char::from(*b)).collect();
    *rest = &rest[end + 2..];
    (!line.chars().any(|c| c != '\t' && c.is_ascii_control())).then_some(line)
}

fn decoded(codings: &[&str], body: Vec<u8>) -> Option<Vec<u8>> {
    let coding = match codings {
        [] => return Some(body),
        [coding] => coding.to_ascii_lowercase(),
        _ => return None,
    };
    let mut out = Vec::new();
    match coding.as_str() {
        "identity" => return Some(body),
        "gzip" | "x-gzip" | "snappy" if body.is_empty() => return Some(body),
        "gzip" | "x-gzip" => {
            let (mut rest, mut members) = (&body[..], 0);
            while !rest.is_empty() {
                let mut member = flate2::bufread::GzDecoder::new(rest);
                member.read_to_end(&mut out).ok()?;
                (rest, members) = (member.into_inner(), members + 1);
            }
            if members > 16 {
                return None;
            }
        }
        "snappy" if snap::raw::decompress_len(&body).ok()? <= BODY_BYTES_MAX => {
            out = snap::raw::Decoder::new().decompress_vec(&body).ok()?;
        }
        _ => return None,
    }
    (out.len() <= BODY_BYTES_MAX).then_some(out)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
