//! A table's keys, held against the methods that the routes take.
//!
//! A key with a method that its route does not take charges nothing, and what the route does take is free: an error where
//! it can be told. Where it cannot, or where other methods of a charged route are free, a warning says so when the table
//! is put up, unless the table says that they are.

use http::Method;

use super::{ConfigError, METHODS, RouteKey, RouteTable};

/// Which methods a route takes, as far as a framework tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteMethods {
    /// These.
    These(Vec<Method>),
    /// All of them.
    All,
    /// It does not tell.
    Untold,
}

impl RouteMethods {
    /// Of a route that takes these methods and those of another one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Untold, _) | (_, Self::Untold) => Self::Untold,
            (Self::These(mut these), Self::These(more)) => {
                these.extend(more);
                Self::These(these)
            }
        }
    }
}

impl RouteTable {
    /// Holds the keys against the methods that the routes of their patterns take.
    ///
    /// # Errors
    /// When a route does not take the method that is charged for: what it does take would be given away.
    pub fn check_methods(&self, methods_of: impl Fn(&str) -> RouteMethods) -> Result<(), ConfigError> {
        for (at, (key, charge)) in self.routes.iter().enumerate() {
            let Some(method) = key.method.as_ref().filter(|_| charge.is_some()) else { continue };
            let methods = methods_of(&key.pattern);
            if let RouteMethods::These(these) = &methods
                && !takes(these, method)
            {
                return Err(ConfigError::NoSuchMethod { route: key.to_string(), methods: listed(these) });
            }
            let first = self.routes[..at].iter().all(|(earlier, charge)| {
                earlier.pattern != key.pattern || earlier.method.is_none() || charge.is_none()
            });
            if first && let Some(words) = self.given_away(key, &methods) {
                tracing::warn!(route = %key, "{words}");
            }
        }
        Ok(())
    }

    /// What of a charged route is free though the table does not say so.
    fn given_away(&self, key: &RouteKey, methods: &RouteMethods) -> Option<String> {
        let pattern = &key.pattern;
        let same: Vec<_> = self.routes.iter().filter(|(other, _)| other.pattern == *pattern).collect();
        let listed_all = same.iter().any(|(other, _)| other.method.is_none());
        if listed_all {
            return None;
        }
        let say = format!(
            "write `{pattern}` for a key to charge all methods, or say `.free(\"{pattern}\")` behind the keys with methods \
             if the others are to be free"
        );
        match methods {
            RouteMethods::These(these) => {
                let free = these.iter().filter(|method| !same.iter().any(|(other, _)| other.takes(method)));
                let free: Vec<_> = free.cloned().collect();
                (!free.is_empty())
                    .then(|| format!("the route is charged, and {} of it is free: {say}", listed(&free)))
            }
            RouteMethods::All => Some(format!(
                "the route takes every method, and all but those of the table's keys are free: {say}"
            )),
            RouteMethods::Untold => Some(format!(
                "which methods the route takes is not told here: any but those of the table's keys is free, and so is the \
                 route if it does not take these: {say}"
            )),
        }
    }
}

/// A route that takes GET answers HEAD as well.
fn takes(these: &[Method], method: &Method) -> bool {
    these.contains(method) || (method == Method::HEAD && these.contains(&Method::GET))
}

/// In the order that people write them.
fn listed(methods: &[Method]) -> String {
    let known = METHODS.iter().filter(|known| methods.contains(known));
    let others = methods.iter().filter(|method| !METHODS.contains(method));
    let names: Vec<_> = known.chain(others).map(Method::as_str).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gate::exact, network::BASE};

    fn table(keys: &[&str]) -> RouteTable {
        let charge = exact("$1").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
        keys.iter().fold(RouteTable::new(), |table, key| match key.strip_prefix("free ") {
            Some(key) => table.free(key).unwrap(),
            None => table.route(key, charge.clone()).unwrap(),
        })
    }

    fn these(methods: &[&str]) -> RouteMethods {
        RouteMethods::These(methods.iter().map(|method| method.parse().unwrap()).collect())
    }

    #[test]
    fn a_method_that_its_route_does_not_take_is_an_error() {
        for (key, methods, taken) in [
            ("GET /a", these(&["GET", "HEAD"]), true),
            ("GET /a", these(&["GET"]), true),
            ("HEAD /a", these(&["GET"]), true),
            ("POST /a", these(&["GET", "POST"]), true),
            ("/a", these(&["GET"]), true),
            ("/a", these(&[]), true),
            ("free POST /a", these(&["GET"]), true),
            ("POST /a", RouteMethods::All, true),
            ("POST /a", RouteMethods::Untold, true),
            ("POST /a", these(&["GET", "HEAD"]), false),
            ("GET /a", these(&["POST"]), false),
            ("GET /a", these(&["HEAD"]), false),
            ("CONNECT /a", these(&["GET"]), false),
            ("GET /a", these(&[]), false),
        ] {
            let checked = table(&[key]).check_methods(|_| methods.clone());
            assert_eq!(checked.is_ok(), taken, "{key} of {methods:?}");
            let Err(error) = checked else { continue };
            assert!(matches!(error, ConfigError::NoSuchMethod { .. }), "{error}");
        }
        let error = table(&["GET /b", "POST /a"]).check_methods(|_| these(&["HEAD", "GET"])).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("`POST /a`") && error.contains("GET, HEAD"), "{error}");
    }

    #[test]
    fn what_is_given_away_is_said_unless_the_table_says_it() {
        let (get, all) = (these(&["GET", "HEAD"]), RouteMethods::All);
        for (keys, methods, words) in [
            (&["GET /a"][..], get.clone(), None),
            (&["/a"], all.clone(), None),
            (&["GET /a"], these(&["GET", "HEAD", "POST", "PUT"]), Some("POST, PUT")),
            (&["POST /a"], these(&["GET", "POST"]), Some("GET of it is free")),
            (&["HEAD /a"], get.clone(), Some("GET")),
            (&["GET /a", "POST /a"], these(&["GET", "POST"]), None),
            (&["GET /a", "free POST /a"], these(&["GET", "POST"]), None),
            (&["GET /a", "/a"], all.clone(), None),
            (&["GET /a", "free /a"], all.clone(), None),
            (&["GET /a"], all.clone(), Some("every method")),
            (&["GET /a"], RouteMethods::Untold, Some("is not told")),
            (&["GET /a", "free /a"], RouteMethods::Untold, None),
        ] {
            let table = table(keys);
            let said = table.given_away(&table.routes[0].0, &methods);
            match words {
                Some(words) => {
                    assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{keys:?}: {said:?}")
                }
                None => assert_eq!(said, None, "{keys:?} of {methods:?}"),
            }
        }
    }

    #[test]
    fn methods_of_two_places_are_those_of_both() {
        let (get, post) = (these(&["GET"]), these(&["POST"]));
        assert_eq!(get.clone().and(post.clone()), these(&["GET", "POST"]));
        assert_eq!(get.clone().and(RouteMethods::Untold), RouteMethods::Untold);
        assert_eq!(RouteMethods::Untold.and(RouteMethods::All).and(post), RouteMethods::All);
    }
}
