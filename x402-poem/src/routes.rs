//! Routes that are charged by a table.

use std::{collections::HashMap, sync::Arc};

use poem::{EndpointExt, IntoEndpoint, Route};
use x402_core::gate::{ConfigError, RouteMethods, RouteTable, Toll};

use crate::{methods::methods_of, middleware::PaymentMiddleware};

/// A [`Route`] in the making, in which a table says what is charged. Built like one, and with what it is built of: what
/// is wrong with a path panics here as it does there.
///
/// A table's key is what poem calls the [`PathPattern`](poem::PathPattern) of a route, letter by letter: with the
/// prefixes of what it is nested in, every run of slashes as one, parameters and regular expressions as they are
/// written. What is nested at `/api` has its `"/"` at `/api/`, which takes requests for `/api` as well.
#[must_use = "a route that is not built serves nothing"]
pub struct ChargedRoute {
    route: Route,
    /// Where the route is nested; without a slash at its end.
    prefix: String,
    /// The patterns of the routes there are, and the methods of those that are listed.
    patterns: HashMap<String, RouteMethods>,
    table: Arc<RouteTable>,
    toll: Toll,
}

impl ChargedRoute {
    pub(crate) fn new(table: RouteTable, toll: Toll) -> Self {
        let (prefix, table) = (String::new(), Arc::new(table));
        Self { route: Route::new(), prefix, patterns: HashMap::new(), table, toll }
    }

    /// Adds an endpoint, as [`Route::at`] does. It is charged if the table lists it.
    ///
    /// # Panics
    /// When the path is none, or is there already.
    pub fn at<E>(mut self, path: impl AsRef<str>, endpoint: E) -> Self
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        let path = path.as_ref();
        let pattern = self.prefix.clone() + &normalized(path);
        let mut methods = RouteMethods::Untold;
        self.route = if self.table.keys().any(|(_, listed)| listed == pattern) {
            let endpoint = endpoint.into_endpoint();
            methods = methods_of(&endpoint);
            self.route.at(path, endpoint.with(PaymentMiddleware::at(self.toll.clone(), pattern.clone())))
        } else {
            self.route.at(path, endpoint)
        };
        self.add(pattern, methods);
        self
    }

    /// Nests routes, as [`Route::nest`] does. They are in the table with the prefix.
    ///
    /// # Panics
    /// When the prefix is none, or is there already; when `routes` answers with other routes than it was given.
    pub fn nest(mut self, prefix: impl AsRef<str>, routes: impl FnOnce(Self) -> Self) -> Self {
        let path = prefix.as_ref();
        let prefix = nested(&self.prefix, path);
        let (table, toll) = (self.table.clone(), self.toll.clone());
        let inner = routes(Self { route: Route::new(), prefix, patterns: HashMap::new(), table, toll });
        // Others have a table of their own, against which nobody would hold their routes.
        assert!(
            Arc::ptr_eq(&inner.table, &self.table),
            "`nest` takes the routes it gave, not those of another table"
        );
        self.route = self.route.nest(path, inner.route);
        for (pattern, methods) in inner.patterns {
            self.add(pattern, methods);
        }
        self
    }

    /// Poem lets routes of one pattern be in different places, and finds one of them.
    fn add(&mut self, pattern: String, methods: RouteMethods) {
        let known = self.patterns.remove(&pattern);
        let methods = known.into_iter().fold(methods, RouteMethods::and);
        self.patterns.insert(pattern, methods);
    }

    /// Nests an endpoint that has its own ways, such as a [`Route`] that is made already, or static files. Whatever it
    /// serves cannot be listed and is free, unless it is charged by a middleware on it.
    ///
    /// # Panics
    /// When the prefix is none, or is there already.
    pub fn nest_unlisted<E>(mut self, prefix: impl AsRef<str>, endpoint: E) -> Self
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        self.route = self.route.nest(prefix, endpoint);
        self
    }

    /// The route. What is added to it is free.
    ///
    /// # Errors
    /// When a key of the table is none of its routes, or its route is a [`RouteMethod`](poem::RouteMethod) that does not
    /// take its method. What else a route may be does not tell its methods: those that may be free are warned of, unless
    /// the table says that they are.
    pub fn build(self) -> Result<Route, ConfigError> {
        self.table.check_among(self.patterns.keys().map(String::as_str))?;
        self.table
            .check_methods(|pattern| self.patterns.get(pattern).cloned().unwrap_or(RouteMethods::Untold))?;
        Ok(self.route)
    }
}

/// The prefix of what is nested at this path below another prefix.
fn nested(prefix: &str, path: &str) -> String {
    let mut nested = prefix.to_owned() + &normalized(path);
    nested.truncate(nested.trim_end_matches('/').len());
    nested
}

/// A path as poem keeps it: with a slash before it, and no two in a row.
fn normalized(path: &str) -> String {
    let mut normalized = String::from("/");
    for letter in path.chars() {
        if letter != '/' || !normalized.ends_with('/') {
            normalized.push(letter);
        }
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_joined_as_poem_does() {
        for (prefixes, path, pattern) in [
            (&[][..], "/a/:b", "/a/:b"),
            (&[], "a//b/", "/a/b/"),
            (&[], "", "/"),
            (&["/api"], "/report", "/api/report"),
            (&["api/"], "report", "/api/report"),
            (&["//api//v1//"], "//report", "/api/v1/report"),
            (&["/"], "/report", "/report"),
            (&["", "/"], "/", "/"),
            (&["/api"], "/", "/api/"),
            (&["/api", "/v1/"], r"/:id<\d+>/*rest", r"/api/v1/:id<\d+>/*rest"),
        ] {
            let prefix = prefixes.iter().fold(String::new(), |outer, path| nested(&outer, path));
            assert_eq!(prefix + &normalized(path), pattern, "{prefixes:?} {path:?}");
        }
    }
}
