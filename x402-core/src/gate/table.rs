//! What the routes of a router cost.

mod methods;

use http::Method;

use super::{Charge, ConfigError};

pub use methods::RouteMethods;

/// Charges keyed by route: `"GET /weather/{city}"`, or without a method for all of them.
///
/// The pattern is the framework's own, letter for letter: the gate looks it up by the route the framework matched
/// and parses no path. HEAD, and the CONNECT of a websocket, are charged as GET unless they have a key of their own. The first route that matches
/// counts; a route that can never match is an error. What is not listed is free: other routes, and with `"GET /a"` all
/// methods of `/a` but these three. Leave the method out where a handler takes any. A method that its route does not take
/// is an error in axum and poem, which tell, and is warned of elsewhere; so are methods of a charged route that are free
/// though the table does not say so.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RouteTable {
    /// `None` is free.
    pub(super) routes: Vec<(RouteKey, Option<Charge>)>,
    pub(super) unrouted_is_free: bool,
}

impl RouteTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route and what it costs.
    ///
    /// # Errors
    /// When the key is no route, or an earlier route covers it.
    pub fn route(self, key: &str, charge: Charge) -> Result<Self, ConfigError> {
        self.add(key, Some(charge))
    }

    /// Says that a route is free. What is not listed is free as well; this is for a route that stands before one that is
    /// charged and covers it, as `"HEAD /a"` before `"GET /a"`, or `"GET /{any}"` before `"/{any}"`, and for actix-web,
    /// where a path may match two patterns, one of them charged.
    ///
    /// # Errors
    /// When the key is no route, or an earlier route covers it.
    pub fn free(self, key: &str) -> Result<Self, ConfigError> {
        self.add(key, None)
    }

    fn add(mut self, key: &str, charge: Option<Charge>) -> Result<Self, ConfigError> {
        let key = RouteKey::parse(key)?;
        if let Some((earlier, _)) = self.routes.iter().find(|(earlier, _)| earlier.covers(&key)) {
            return Err(ConfigError::Unreachable { route: key.to_string(), earlier: earlier.to_string() });
        }
        self.routes.push((key, charge));
        Ok(self)
    }

    /// The keys, as method and pattern: adapters that can see their router's routes hold them against it.
    pub fn keys(&self) -> impl Iterator<Item = (Option<&Method>, &str)> {
        self.routes.iter().map(|(key, _)| (key.method.as_ref(), key.pattern.as_str()))
    }

    /// Holds the keys against the patterns of all routes there are: what is misspelt would be given away.
    ///
    /// # Errors
    /// When a key is none of them.
    pub fn check_among<'a>(&self, routes: impl IntoIterator<Item = &'a str>) -> Result<(), ConfigError> {
        let routes: Vec<&str> = routes.into_iter().collect();
        for (key, _) in &self.routes {
            if !routes.contains(&key.pattern.as_str()) {
                let nearest = routes.iter().find(|route| same_paths(&key.pattern, route));
                let nearest = nearest.map(|route| (*route).to_owned());
                return Err(ConfigError::NoSuchRoute { route: key.to_string(), nearest });
            }
        }
        Ok(())
    }

    /// Lets requests pass that reach the table without having matched any route, such as a router's fallback.
    ///
    /// Without it they are answered 500: a table that stands outside of its router sees no route at all, and would
    /// let everything pass. Only say this where the table is known to stand inside.
    pub fn unrouted_is_free(mut self) -> Self {
        self.unrouted_is_free = true;
        self
    }
}

const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// A method, or any, and a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouteKey {
    method: Option<Method>,
    pub(super) pattern: String,
}

impl RouteKey {
    fn parse(key: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::RouteKey(key.to_owned());
        let (method, pattern) = match key.trim().split_once(char::is_whitespace) {
            _ if key.trim().starts_with('/') => (None, key.trim()),
            Some((method, pattern)) => {
                let method = method.to_ascii_uppercase();
                // A misspelt method would give the route away; others are charged by a key without one.
                let known = METHODS.iter().find(|known| known.as_str() == method).ok_or_else(bad)?;
                (Some(known.clone()), pattern.trim_start())
            }
            None => (None, key.trim()),
        };
        if pattern.starts_with('/') && is_sound(pattern) {
            Ok(Self { method, pattern: pattern.to_owned() })
        } else {
            Err(bad())
        }
    }

    /// The method that it names, if it names one.
    pub(super) fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// Whether every request of the other key is taken by this one.
    fn covers(&self, other: &Self) -> bool {
        same_paths(&self.pattern, &other.pattern)
            && match (&self.method, &other.method) {
                (None, _) => true,
                (Some(mine), Some(theirs)) => mine == theirs || (mine == Method::GET && is_get_too(theirs)),
                (Some(_), None) => false,
            }
    }

    /// Whether it takes a method by its own name, or all of them.
    pub(super) fn names(&self, method: &Method) -> bool {
        self.method.as_ref().is_none_or(|mine| mine == method)
    }

    pub(super) fn takes(&self, method: &Method) -> bool {
        match &self.method {
            None => true,
            Some(mine) => mine == method || (mine == Method::GET && is_get_too(method)),
        }
    }
}

/// HEAD is a GET, and so is CONNECT: it begins a websocket in HTTP/2 (RFC 8441), as GET does in HTTP/1.1.
fn is_get_too(method: &Method) -> bool {
    [Method::HEAD, Method::CONNECT].contains(method)
}

impl std::fmt::Display for RouteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.method {
            Some(method) => write!(f, "{method} {}", self.pattern),
            None => f.write_str(&self.pattern),
        }
    }
}

/// Patterns that differ in their parameters' names alone match the same paths.
fn same_paths(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other || (is_parameter(one) && is_parameter(other)) => {}
            _ => return false,
        }
    }
}

/// A whole segment that stands for any other, in the syntax of axum, actix-web or poem.
fn is_parameter(segment: &str) -> bool {
    let braced = segment.starts_with('{') && segment.ends_with('}') && !segment.contains(['*', ':']);
    braced || (segment.starts_with(':') && !segment.contains(['<', '*']))
}

/// No query, fragment or white space, but in a parameter's regular expression; what opens it is closed.
fn is_sound(pattern: &str) -> bool {
    let mut depth = 0_usize;
    for letter in pattern.chars() {
        match letter {
            '{' | '<' => depth += 1,
            '}' | '>' if depth == 0 => return false,
            '}' | '>' => depth -= 1,
            '?' | '#' if depth == 0 => return false,
            white if white.is_whitespace() && depth == 0 => return false,
            _ => {}
        }
    }
    depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gate::exact, network::BASE};

    fn table(keys: &[&str]) -> Result<RouteTable, ConfigError> {
        let charge = exact("$1").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
        keys.iter().try_fold(RouteTable::new(), |table, key| table.route(key, charge.clone()))
    }

    #[test]
    fn a_route_that_can_never_match_is_an_error() {
        for keys in [
            ["GET /a", "GET /a"],
            ["GET /a", "get /a"],
            ["/a", "GET /a"],
            ["GET /a", "HEAD /a"],
            ["/a/{id}", "POST /a/{name}"],
            ["/a/:id", "/a/:name"],
        ] {
            assert!(matches!(table(&keys), Err(ConfigError::Unreachable { .. })), "{keys:?}");
        }
        for keys in [
            ["GET /a", "POST /a"],
            ["GET /a", "/a"],
            ["HEAD /a", "GET /a"],
            ["/a/{id}", "/a/b"],
            ["/a/{id}", "/a/{*rest}"],
            ["/a/:id", "/a/:id<[0-9]+>"],
            ["/a/:id<[a-z]+>", "/a/:id<[0-9]+>"],
            ["/a/{id:[a-z]+?}", "/a/{id:\\d{2} #}"],
            ["/a", "/a/"],
        ] {
            assert!(table(&keys).is_ok(), "{keys:?}");
        }
    }

    #[test]
    fn a_get_takes_what_is_a_get_by_another_name() {
        let key = RouteKey::parse("GET /socket").unwrap();
        for method in [Method::GET, Method::HEAD, Method::CONNECT] {
            assert!(key.takes(&method));
        }
        assert!(!key.takes(&Method::POST));
    }

    #[test]
    fn what_is_no_route_is_an_error() {
        for key in [
            "",
            "GET",
            "weather",
            "GET weather",
            "GET  ",
            "G T /a",
            "GETT /a",
            "/a?b=c",
            "/a#b",
            "/{a",
            "/a}",
            "GET /a b",
        ] {
            assert!(matches!(table(&[key]), Err(ConfigError::RouteKey(_))), "{key:?}");
        }
    }
}
