//! Content codings (RFC 9110 section 8.4): gzip, and snappy in its block form, which is what remote write sends.
//!
//! The bound holds before and after decoding, so that a small bomb stays small.

use super::head::Coding;
use contracts::http::ApiError;
use flate2::bufread::GzDecoder;
use std::io::Read;

/// Most members of a body (RFC 1952 section 2.2). An empty one has 20 bytes, and a decoder is set up for each: a large body
/// made of them alone decodes to nothing, and would keep a thread for seconds.
const GZIP_MEMBERS_MAX: usize = 16;
/// What a byte of snappy can become at most: a copy of 64 bytes takes three. An announced length beyond is a lie, and is
/// found out before there is memory for it.
const SNAPPY_RATIO_MAX: usize = 22;

/// Decodes `body` into `out`, whose content is replaced.
///
/// # Errors
/// 400 `bad_encoding` for what is broken, 413 `body_too_large` for what would pass the bound.
pub(super) fn decode(
    coding: Coding,
    body: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    out.clear();
    match coding {
        Coding::Identity => out.extend_from_slice(body),
        Coding::Gzip => gunzip(body, bytes_max, out)?,
        Coding::Snappy => unsnap(body, bytes_max, out)?,
    }
    Ok(())
}

fn gunzip(mut body: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), ApiError> {
    for _ in 0..GZIP_MEMBERS_MAX {
        let mut member = GzDecoder::new(body);
        let one_too_many = u64::try_from(bytes_max - out.len()).unwrap_or(u64::MAX).saturating_add(1);
        member.by_ref().take(one_too_many).read_to_end(out).map_err(|e| broken("gzip", &e))?;
        if out.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        body = member.into_inner();
        if body.is_empty() {
            return Ok(());
        }
    }
    Err(broken("gzip", &format!("it has more than {GZIP_MEMBERS_MAX} members")))
}

fn unsnap(body: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), ApiError> {
    let length = snap::raw::decompress_len(body).map_err(|e| broken("snappy", &e))?;
    if length > bytes_max {
        return Err(too_large(bytes_max));
    }
    if length > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(broken("snappy", &"it announces more than it can hold"));
    }
    out.resize(length, 0);
    let written = snap::raw::Decoder::new().decompress(body, out).map_err(|e| broken("snappy", &e))?;
    out.truncate(written);
    Ok(())
}

fn broken(coding: &str, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(400, "bad_encoding", format!("the body is no {coding}: {why}"))
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::new(413, "body_too_large", format!("a body of more than {bytes_max} bytes once decoded"))
}
