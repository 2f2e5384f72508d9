//! Shows what goes over the wire: a middleware for reqwest that prints each request and its response, shortened.

use std::pin::Pin;

use http::{Extensions, HeaderMap, StatusCode};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Next, Result};
use x402_core::wire;

/// So much of a value is shown, in characters.
const LONGEST: usize = 48;
/// The same of a body.
const LONGEST_BODY: usize = 160;

/// Prints each exchange: `>` before what was sent, `<` before what came. A value that is a payment is cut off before
/// its signature begins.
pub fn show<'a>(
    request: Request,
    extensions: &'a mut Extensions,
    next: Next<'a>,
) -> Pin<Box<dyn Future<Output = Result<Response>> + Send + 'a>> {
    Box::pin(async move {
        let (method, url) = (request.method(), request.url());
        println!("> {method} {} HTTP/1.1", url.path());
        println!("> host: {}", url.authority());
        let sent = [wire::PAYMENT_SIGNATURE, wire::X_PAYMENT];
        show_headers('>', request.headers(), &sent);
        println!(">");

        let response = next.run(request, extensions).await?;
        let (status, version, url) = (response.status(), response.version(), response.url().clone());
        let headers = response.headers().clone();
        let body = response.bytes().await?;
        show_answer(version, status, &headers, &String::from_utf8_lossy(&body));
        let mut builder = http::Response::builder().status(status).version(version).url(url);
        if let Some(all) = builder.headers_mut() {
            *all = headers;
        }
        let response = builder.body(body).map_err(reqwest_middleware::Error::middleware)?;
        Ok(response.into())
    })
}

fn show_answer(version: http::Version, status: StatusCode, headers: &HeaderMap, body: &str) {
    println!("< {version:?} {status}");
    let came = [wire::PAYMENT_REQUIRED, wire::PAYMENT_RESPONSE, wire::X_PAYMENT_RESPONSE];
    show_headers('<', headers, &[http::header::CONTENT_TYPE, http::header::RETRY_AFTER]);
    show_headers('<', headers, &came);
    println!("<");
    for line in shortened(body.trim_end(), LONGEST_BODY).lines() {
        println!("< {line}");
    }
}

fn show_headers(side: char, headers: &HeaderMap, names: &[http::HeaderName]) {
    for name in names {
        for value in headers.get_all(name) {
            println!("{side} {name}: {}", shortened(&String::from_utf8_lossy(value.as_bytes()), LONGEST));
        }
    }
}

/// Its beginning, and how long it is.
fn shortened(text: &str, longest: usize) -> String {
    let length = text.chars().count();
    if length <= longest {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(longest).collect();
    format!("{beginning}… ({length} characters)")
}
