//! What a payment was presented for.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::PathAndQuery};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::{charge::Cost, request::RequestView};
use crate::payment::PaymentRequirements;

/// What a payment was presented for: a price may depend on all of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Place {
    /// What it costs there, and the process that says so.
    cost: Cost,
    process: u64,
    /// Our origin, method, path and query.
    request: String,
    /// The hosts that were asked for, and the matched route.
    site: String,
    /// What is asked for there.
    options: Vec<PaymentRequirements>,
    /// A digest of the headers, where what is asked for is computed, and may depend on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    headers: Option<String>,
}

/// Headers that say how a request came, and not what is asked for: they are different when the same is asked again. A name
/// that ends with `-` stands for all that begin so. The host is compared as such.
const FLEETING: [&str; 38] = [
    "accept-encoding",
    "b3",
    "baggage",
    "cache-control",
    "cdn-",
    "cf-",
    "connection",
    "date",
    "fastly-",
    "fly-",
    "forwarded",
    "host",
    "if-",
    "keep-alive",
    "payment-signature",
    "pragma",
    "priority",
    "referer",
    "sec-",
    "sentry-",
    "te",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "user-agent",
    "via",
    "x-amz-",
    "x-amzn-",
    "x-b3-",
    "x-cloud-trace-context",
    "x-correlation-",
    "x-datadog-",
    "x-forwarded-",
    "x-payment",
    "x-real-ip",
    "x-request-",
    "x-trace-",
    "x-vercel-",
];

fn is_fleeting(name: &str) -> bool {
    FLEETING.iter().any(
        |fleeting| {
            if fleeting.ends_with('-') { name.starts_with(fleeting) } else { name == *fleeting }
        },
    )
}

impl Place {
    pub(in super::super) fn new(
        origin: &str,
        cost: Cost,
        request: RequestView<'_>,
        options: Vec<PaymentRequirements>,
    ) -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
        let RequestView { method, uri, headers, route, .. } = request;
        let asked = uri.path_and_query().map_or(uri.path(), PathAndQuery::as_str);
        // HTTP/2 says in one what HTTP/1.1 says in the other; whoever says both says two things.
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        let hosts = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes).chain(authority);
        let hosts: BTreeSet<String> = hosts.map(canonical_host).collect();
        Self {
            cost,
            process: *PROCESS,
            request: format!("{origin} {method} {asked}"),
            site: format!("{hosts:?} {route:?}"),
            options,
            headers: cost.is_computed.then(|| digest_of(headers)),
        }
    }

    /// Our origin, method, path and query.
    pub(super) fn request(&self) -> &str {
        &self.request
    }

    /// A digest of the request, with this body: what a client names may be asked for once more, and nothing else.
    pub(in super::super) fn digest(&self, body: &[u8]) -> String {
        let mut hasher = Sha256::new();
        for part in [&self.request, &self.site] {
            measured(&mut hasher, part.as_bytes());
        }
        hasher.update(body);
        hex(hasher)
    }

    #[cfg(test)]
    pub(super) fn ask(&mut self, options: Vec<PaymentRequirements>) {
        self.options = options;
    }

    /// Whether what was paid there buys what is asked for here, in the same request: where just that is asked for, as it
    /// could buy anything that costs the same; and else for the same account,
    ///
    /// - where no more is asked for, as after a price was lowered;
    /// - where it is computed in the same way from the same headers, and comes to more by now.
    ///
    /// Where prices are fixed, one that is higher may be that of something else at the same address.
    pub(super) fn buys(&self, paid: &PaymentRequirements, here: &Self) -> bool {
        let mut alike = here.options.iter().filter(|asked| {
            (&asked.network, &asked.asset, &asked.pay_to) == (&paid.network, &paid.asset, &paid.pay_to)
        });
        let same_headers = self.headers.is_some() && self.headers == here.headers;
        self.request == here.request
            && (self.asks_for(paid, here)
                || (self.site == here.site
                    && alike.any(|asked| {
                        asked.amount <= paid.amount || (same_headers && self.same_reckoning(here))
                    })))
    }

    /// Whether just this is asked for here.
    pub(super) fn asks_for(&self, paid: &PaymentRequirements, here: &Self) -> bool {
        self.request == here.request && here.options.contains(paid)
    }

    /// In one process, closures are told apart; between two, only their code is.
    fn same_reckoning(&self, here: &Self) -> bool {
        if self.process == here.process {
            self.cost == here.cost
        } else {
            self.cost.anywhere == here.cost.anywhere
        }
    }
}

fn digest_of(headers: &HeaderMap) -> String {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.retain(|name| !is_fleeting(name));
    names.sort_unstable();
    let mut hasher = Sha256::new();
    for name in names {
        for value in headers.get_all(name) {
            measured(&mut hasher, name.as_bytes());
            measured(&mut hasher, value.as_bytes());
        }
    }
    hex(hasher)
}

/// With its length, which keeps apart what else would read the same.
fn measured(hasher: &mut Sha256, part: &[u8]) {
    hasher.update((part.len() as u64).to_be_bytes());
    hasher.update(part);
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn canonical_host(host: &[u8]) -> String {
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let bare = [":80", ":443"].iter().find_map(|port| host.strip_suffix(port));
    bare.map(str::to_owned).unwrap_or(host)
}
