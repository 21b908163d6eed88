//! The book: the files below a directory, where `craft book` has built it.
//!
//! It is read anew each time, since the book may be built while we serve. Nothing outside the directory is ever read: a
//! path is names between slashes, looked at once it is decoded, and a link that leads out leads nowhere.

use super::{Params, Route};
use contracts::http::{ApiError, Request, Response};
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// Largest file that is served. A whole book on one page, or its search index, is far smaller.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// As strict as the page's own, but that mdBook's pages have scripts and styles within them.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'self'; base-uri 'self'; \
     form-action 'none'";

/// What a book is made of. Anything else in the directory is not served.
const CONTENT_TYPES: [(&str, &str); 9] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("ico", "image/x-icon"),
    ("woff2", "font/woff2"),
    ("txt", "text/plain; charset=utf-8"),
];

/// Routes of the book in this directory, which need not be there yet.
pub fn routes(dir: PathBuf) -> Vec<Route> {
    vec![
        // Its pages name their neighbours, so that where they stand must end with a slash.
        Route::new("page", "GET", "/book", |_, _| Ok(Response::status(308).with("Location", "/book/"))),
        Route::new("page", "GET", "/book/{path*}", move |request, params| file(&dir, request, params)),
    ]
}

fn file(dir: &Path, request: &Request<'_>, params: &Params<'_>) -> Result<Response, ApiError> {
    let Ok(dir) = fs::canonicalize(dir) else { return Err(not_built()) };
    let path = match &*params[0] {
        "" => "index.html",
        path => path,
    };
    let (content_type, bytes) = read(&dir, path).ok_or_else(|| match path {
        "index.html" => not_built(),
        _ => ApiError::new(404, "no_such_page", format!("the book has no {:?}", shown(request.path))),
    })?;
    Ok(Response::body(200, content_type, bytes)
        .with("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        .with("X-Content-Type-Options", "nosniff")
        .with("Cache-Control", "no-cache"))
}

/// A file below `dir`, which has no links in its own path.
fn read(dir: &Path, path: &str) -> Option<(&'static str, Vec<u8>)> {
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
    if !path.split('/').all(is_name) {
        return None;
    }
    let (_, extension) = path.rsplit_once('.')?;
    let (_, content_type) = CONTENT_TYPES.iter().find(|(known, _)| *known == extension)?;
    // Links within the book are followed, and those that leave it are not.
    let path = fs::canonicalize(dir.join(path)).ok().filter(|path| path.starts_with(dir))?;
    if !fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > FILE_BYTES_MAX { None } else { Some((content_type, bytes)) }
}

fn not_built() -> ApiError {
    let message = "the book is not built yet; `cargo craft book` builds it, and then this page shows it";
    ApiError::new(404, "no_book", message)
}

fn shown(path: &str) -> String {
    path.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Router;
    use contracts::http::Handler;

    fn ask(dir: &Path, path: &str) -> Response {
        let router = Router::new(routes(dir.to_owned()));
        router.handle(&Request { method: "GET", path, query: "", headers: &[], body: b"", peer: None })
    }

    fn book() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("book");
        fs::create_dir_all(dir.join("ingest")).unwrap();
        for (name, text) in
            [("index.html", "the book"), ("ingest/a b.html", "a chapter"), ("notes.md", "no page")]
        {
            fs::write(dir.join(name), text).unwrap();
        }
        fs::write(outer.path().join("secret.html"), "a secret").unwrap();
        (outer, dir)
    }

    #[test]
    fn pages_come_with_their_types() {
        let (_outer, dir) = book();
        for (path, body) in [
            ("/book/", "the book"),
            ("/book/index.html", "the book"),
            ("/book/ingest/a%20b.html", "a chapter"),
        ] {
            let response = ask(&dir, path);
            assert_eq!((response.status, response.body.bytes()), (200, body.as_bytes()), "{path}");
            assert_eq!(response.content_type, "text/html; charset=utf-8");
            assert!(response.headers.iter().any(|(name, _)| *name == "Content-Security-Policy"));
        }
        let moved = ask(&dir, "/book");
        assert_eq!((moved.status, &moved.headers[..]), (308, &[("Location", "/book/".to_owned())][..]));
        assert_ne!(contracts::http::reason(moved.status), "Unknown", "for people who read the wire");
    }

    #[test]
    fn nothing_outside_the_book_is_read() {
        let (outer, dir) = book();
        let absolute = format!("/book/{}", outer.path().join("secret.html").display());
        let paths = [
            "/book/../secret.html",
            "/book/%2e%2e/secret.html",
            "/book/..%2fsecret.html",
            "/book/ingest/../../secret.html",
            "/book/ingest/%2e%2e%2f%2e%2e%2fsecret.html",
            "/book/..\\secret.html",
            "/book//secret.html",
            "/book/%00.html",
            "/book/ingest",
            "/book/ingest/",
            "/book/notes.md",
            "/book/none.html",
            &absolute,
        ];
        for path in paths {
            let response = ask(&dir, path);
            assert_eq!(response.status, 404, "{path}");
            assert!(!String::from_utf8_lossy(response.body.bytes()).contains("a secret"), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_within_the_book_and_never_out_of_it() {
        use std::os::unix::fs::symlink;
        let (outer, dir) = book();
        symlink(outer.path().join("secret.html"), dir.join("out.html")).unwrap();
        symlink(outer.path(), dir.join("up")).unwrap();
        symlink(dir.join("index.html"), dir.join("in.html")).unwrap();
        assert_eq!(ask(&dir, "/book/out.html").status, 404);
        assert_eq!(ask(&dir, "/book/up/secret.html").status, 404);
        assert_eq!(ask(&dir, "/book/in.html").status, 200);
        // The directory itself may be one: whoever named it meant it.
        symlink(&dir, outer.path().join("linked")).unwrap();
        assert_eq!(ask(&outer.path().join("linked"), "/book/").status, 200);
    }

    #[test]
    fn a_file_beyond_the_bound_is_not_read() {
        let (_outer, dir) = book();
        File::create(dir.join("large.html")).unwrap().set_len(FILE_BYTES_MAX).unwrap();
        assert_eq!(ask(&dir, "/book/large.html").status, 200);
        File::create(dir.join("large.html")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(ask(&dir, "/book/large.html").status, 404);
    }

    #[test]
    fn a_book_that_is_not_built_says_how_to_build_it() {
        let outer = tempfile::tempdir().unwrap();
        for dir in [outer.path().join("none"), outer.path().to_owned()] {
            let response = ask(&dir, "/book/");
            assert_eq!(response.status, 404);
            assert!(String::from_utf8_lossy(response.body.bytes()).contains("cargo craft book"));
        }
    }
}
