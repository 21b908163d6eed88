//! The contracts over HTTP: one table of routes, one file a service.
//!
//! A route is a method and a path of the service's OpenAPI file; a test holds the two against each other.

pub mod alert;
pub mod book;
pub mod ingest;
pub mod page;
pub mod query;
pub mod queue;
pub mod service;
pub mod storage;

use contracts::http::{ApiError, Deferred, Handler, Request, Response, percent_decode};
use std::{borrow::Cow, collections::HashMap};

/// One method of one path.
pub struct Route {
    /// The service whose OpenAPI file documents it; `common` for what every service has, `page` for the page.
    pub service: &'static str,
    /// HTTP method. `GET` answers `HEAD` too.
    pub method: &'static str,
    /// Template: a segment in braces is a parameter; with a star, as in `/book/{path*}`, it is the last one, and stands for
    /// all segments that are left, of which there may be none.
    pub path: &'static str,
    /// Answers it.
    pub run: Run,
}

/// Answers a request whose path had these parameters.
pub type Run = Box<dyn Fn(&Request<'_>, &Params<'_>) -> Result<Response, ApiError> + Send + Sync>;

/// The segments of a path that stand for a template's parameters, in order, percent-decoded.
pub type Params<'a> = [Cow<'a, str>];

impl Route {
    /// A route.
    pub fn new(
        service: &'static str,
        method: &'static str,
        path: &'static str,
        run: impl Fn(&Request<'_>, &Params<'_>) -> Result<Response, ApiError> + Send + Sync + 'static,
    ) -> Self {
        Self { service, method, path, run: Box::new(run) }
    }

    fn params<'a>(&self, path: &'a str) -> Option<Vec<Cow<'a, str>>> {
        if let Some((stem, _)) = self.path.split_once('{').filter(|(_, name)| name.ends_with("*}")) {
            return path.strip_prefix(stem).map(|rest| vec![percent_decode(rest, false)]);
        }
        let (mut template, mut given) = (self.path.split('/'), path.split('/'));
        let mut params = Vec::new();
        loop {
            match (template.next(), given.next()) {
                (None, None) => return Some(params),
                (Some(t), Some(g)) if t.starts_with('{') && !g.is_empty() => {
                    params.push(percent_decode(g, false))
                }
                (Some(t), Some(g)) if t == g => {}
                _ => return None,
            }
        }
    }
}

/// Finds the route of a request.
pub struct Router {
    routes: Vec<Route>,
    /// Routes without parameters by their path: the middleware looks one up for every request.
    plain: HashMap<&'static str, Vec<usize>>,
    deferred: Option<OpenDeferred>,
}

/// One thread's way to answers that come later.
pub type OpenDeferred = Box<dyn Fn() -> Box<dyn Deferred> + Send + Sync>;

impl Router {
    /// A router over these routes.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut plain = HashMap::<_, Vec<usize>>::new();
        for (index, route) in routes.iter().enumerate().filter(|(_, route)| !route.path.contains('{')) {
            plain.entry(route.path).or_default().push(index);
        }
        Self { routes, plain, deferred: None }
    }

    /// The same, but an engine may have one route answered later. The route stays: others do not know of it.
    #[must_use]
    pub fn with_deferred(self, deferred: Option<OpenDeferred>) -> Self {
        Self { deferred, ..self }
    }

    /// All routes.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The index of the route that answers; none where the answer is 404 or 405.
    pub fn find(&self, method: &str, path: &str) -> Option<usize> {
        let method = if method == "HEAD" { "GET" } else { method };
        let mut plain = self.plain.get(path).into_iter().flatten().copied();
        if let Some(index) = plain.find(|index| self.routes[*index].method == method) {
            return Some(index);
        }
        self.routes.iter().position(|r| r.method == method && r.params(path).is_some())
    }

    fn answer(&self, request: &Request<'_>) -> Result<Response, ApiError> {
        if let Some(index) = self.find(request.method, request.path) {
            let route = &self.routes[index];
            return (route.run)(request, &route.params(request.path).unwrap_or_default());
        }
        let allowed: Vec<_> =
            self.routes.iter().filter(|r| r.params(request.path).is_some()).map(|r| r.method).collect();
        if allowed.is_empty() {
            return Err(ApiError::no_such_path(request.path));
        }
        Err(ApiError::method_not_allowed(request.method, request.path, allowed.join(", ")))
    }
}

impl Handler for Router {
    fn handle(&self, request: &Request<'_>) -> Response {
        self.answer(request).into()
    }

    fn deferred(&self) -> Option<Box<dyn Deferred>> {
        self.deferred.as_ref().map(|open| open())
    }
}

/// A parameter of the query string, percent-decoded; `None` if it is absent.
fn text_param<'a>(request: &Request<'a>, name: &str) -> Result<Option<Cow<'a, str>>, ApiError> {
    let no_text =
        |at: usize| bad_parameter(format!("{name} is no UTF-8, from its byte {at} on; percent-encode UTF-8"));
    match request.param_bytes(name) {
        None => Ok(None),
        Some(Cow::Borrowed(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|e| no_text(e.valid_up_to()))?;
            Ok(Some(Cow::Borrowed(text)))
        }
        Some(Cow::Owned(bytes)) => {
            let text = String::from_utf8(bytes).map_err(|e| no_text(e.utf8_error().valid_up_to()))?;
            Ok(Some(Cow::Owned(text)))
        }
    }
}

/// The same, parsed.
fn param<T: std::str::FromStr>(request: &Request<'_>, name: &str, what: &str) -> Result<Option<T>, ApiError> {
    let Some(text) = text_param(request, name)? else { return Ok(None) };
    let shown: String = text.chars().take(80).collect();
    text.parse().map(Some).map_err(|_| bad_parameter(format!("{name} must be {what}, not {shown:?}")))
}

/// The same where it must be there.
fn required<T: std::str::FromStr>(request: &Request<'_>, name: &str, what: &str) -> Result<T, ApiError> {
    param(request, name, what)?
        .ok_or_else(|| bad_parameter(format!("the parameter {name} is missing: {what}")))
}

fn bad_parameter(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "bad_parameter", message)
}

/// The body as a value of a contract's type.
fn json_body<T: serde::de::DeserializeOwned>(request: &Request<'_>) -> Result<T, ApiError> {
    serde_json::from_slice(request.body).map_err(|e| {
        let lines_before: usize =
            request.body.split_inclusive(|b| *b == b'\n').take(e.line().max(1) - 1).map(<[u8]>::len).sum();
        ApiError::bad_input("bad_json", lines_before + e.column().saturating_sub(1), e.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(router: &Router, method: &str, path: &str) -> u16 {
        router.handle(&Request { method, path, query: "", headers: &[], body: b"", peer: None }).status
    }

    #[test]
    fn templates_methods_and_what_is_not_there() {
        let echo = |_: &Request<'_>, params: &Params<'_>| Ok(Response::text(200, params.concat()));
        let router = Router::new(vec![
            Route::new("alert", "GET", "/rules", echo),
            Route::new("alert", "POST", "/rules", echo),
            Route::new("alert", "DELETE", "/rules/{name}", echo),
            Route::new("page", "GET", "/book/{path*}", echo),
        ]);
        assert_eq!(status(&router, "GET", "/rules"), 200);
        assert_eq!(status(&router, "HEAD", "/rules"), 200);
        assert_eq!(status(&router, "DELETE", "/rules/a%20b"), 200);
        assert_eq!(status(&router, "DELETE", "/rules/"), 404);
        assert_eq!(status(&router, "DELETE", "/rules"), 405);
        assert_eq!(status(&router, "GET", "/rules/a/b"), 404);
        assert_eq!(status(&router, "GET", "/book"), 404);
        for (path, rest) in [("/book/", ""), ("/book/a", "a"), ("/book/a%20b/c", "a b/c")] {
            let request = Request { method: "GET", path, query: "", headers: &[], body: b"", peer: None };
            assert_eq!(router.handle(&request).body.bytes(), rest.as_bytes(), "{path}");
        }
        let request =
            Request { method: "PUT", path: "/rules", query: "", headers: &[], body: b"", peer: None };
        assert_eq!(router.handle(&request).headers, [("Allow", "GET, POST".to_owned())]);
    }

    #[test]
    fn a_bad_body_names_its_byte() {
        let request =
            Request { method: "POST", path: "/", query: "", headers: &[], body: b"{\n\"a\":x}", peer: None };
        assert_eq!(json_body::<serde_json::Value>(&request).unwrap_err().at, Some(6));
    }
}
