//! What a payment was presented for.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use http::{HeaderValue, header, uri::PathAndQuery};
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
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(body);
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[cfg(test)]
    pub(super) fn ask(&mut self, options: Vec<PaymentRequirements>) {
        self.options = options;
    }

    /// Whether what was paid there buys what is asked for here: in the same request, where what was paid is asked for,
    /// as it could buy anything that costs the same; or by the same reckoning, which comes to another price by now, for
    /// the same account.
    pub(super) fn buys(&self, paid: &PaymentRequirements, here: &Self) -> bool {
        let same_payee = |asked: &PaymentRequirements| {
            (&asked.network, &asked.asset, &asked.pay_to) == (&paid.network, &paid.asset, &paid.pay_to)
        };
        self.request == here.request
            && (here.options.contains(paid)
                || (self.same_reckoning(here) && here.options.iter().any(same_payee)))
    }

    /// In one process, closures are told apart; between two, only their code is.
    fn same_reckoning(&self, here: &Self) -> bool {
        let same_cost = if self.process == here.process {
            self.cost == here.cost
        } else {
            self.cost.anywhere == here.cost.anywhere
        };
        same_cost && self.site == here.site
    }
}

fn canonical_host(host: &[u8]) -> String {
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let bare = [":80", ":443"].iter().find_map(|port| host.strip_suffix(port));
    bare.map(str::to_owned).unwrap_or(host)
}
