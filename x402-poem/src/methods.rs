//! Which methods an endpoint takes.
//!
//! poem does not say. But its [`RouteMethod`] keeps a request only for an endpoint that it has for the request's method,
//! and drops it at once where it has none; and no endpoint does anything before its future is polled. So it is handed a
//! request in each method, whose future is dropped unpolled: no handler runs.

use std::{any::Any, sync::Arc};

use poem::{Endpoint, Request, RouteMethod, http::Method};
use x402_core::gate::RouteMethods;

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

/// Which methods it takes, if it is a [`RouteMethod`].
pub(crate) fn methods_of<E: Endpoint + 'static>(endpoint: &E) -> RouteMethods {
    let Some(methods) = (endpoint as &dyn Any).downcast_ref::<RouteMethod>() else {
        return RouteMethods::Untold;
    };
    let takes = |method: &Method| {
        let kept = Arc::new(());
        let mut request = Request::builder().method(method.clone()).finish();
        request.extensions_mut().insert(kept.clone());
        let unpolled = methods.call(request);
        let takes = Arc::strong_count(&kept) > 1;
        drop(unpolled);
        takes
    };
    let mut these: Vec<Method> = METHODS.into_iter().filter(takes).collect();
    // It keeps a HEAD for the endpoint for GET as well, whether there is one or not. Without one, a route that takes
    // others is taken to have none for HEAD either, as hardly any has.
    if !these.contains(&Method::GET) && these.len() > 1 {
        these.retain(|method| method != Method::HEAD);
    }
    RouteMethods::These(these)
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, RouteMethod, endpoint::make_sync, get, head, post};

    use super::*;

    #[test]
    fn the_methods_of_a_route_are_told_and_no_handler_runs() {
        let panics = || make_sync(|_| -> &'static str { panic!("a handler runs") });
        for (route, expected) in [
            (get(panics()), "GET HEAD"),
            (get(panics()).post(panics()), "GET HEAD POST"),
            (post(panics()), "POST"),
            (post(panics()).delete(panics()).options(panics()), "POST DELETE OPTIONS"),
            (head(panics()), "HEAD"),
            (get(panics()).head(panics()).trace(panics()).connect(panics()), "GET HEAD TRACE CONNECT"),
            (RouteMethod::new().put(panics()).patch(panics()), "PUT PATCH"),
        ] {
            let RouteMethods::These(these) = methods_of(&route) else { panic!("{expected}") };
            let these: Vec<_> = these.iter().map(Method::as_str).collect();
            assert_eq!(these.join(" "), expected);
        }
        assert_eq!(methods_of(&panics()), RouteMethods::Untold);
        assert_eq!(methods_of(&get(panics()).before(async |request| Ok(request))), RouteMethods::Untold);
    }
}
