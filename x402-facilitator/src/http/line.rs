//! One line in the log for each request: what was asked and what came of it, and nothing that was signed.

use std::time::Instant;

use axum::{extract::Request, http::Method, middleware::Next, response::Response};
use tracing::info;
use x402_core::{
    address::Address,
    network::Network,
    payment::{Payment, SettleResponse, VerifyResponse},
};

/// So much of a path is logged, in characters: whoever asks chooses it.
const LONGEST_PATH: usize = 80;

/// What a request was about, where it was about a payment. Travels in the response's extensions.
#[derive(Clone)]
pub(super) struct About {
    network: Network,
    payer: Option<Address>,
    outcome: String,
}

impl About {
    pub(super) fn new(payment: &Payment) -> Self {
        let network = payment.requirements.network.clone();
        Self { network, payer: None, outcome: "no answer".to_owned() }
    }

    pub(super) fn verified(&mut self, answer: &VerifyResponse) {
        (self.outcome, self.payer) = match answer {
            VerifyResponse::Valid { payer } => ("valid".to_owned(), payer.clone()),
            VerifyResponse::Invalid(refusal) => (refusal.reason.to_string(), refusal.payer.clone()),
        };
    }

    pub(super) fn settled(&mut self, answer: &SettleResponse) {
        (self.outcome, self.payer) = match answer {
            SettleResponse::Settled(receipt) => ("settled".to_owned(), receipt.payer.clone()),
            SettleResponse::Pending(pending) => ("pending".to_owned(), pending.payer.clone()),
            SettleResponse::Failed(failure) => (failure.reason.to_string(), failure.payer.clone()),
        };
    }

    pub(super) fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// Logs the request when it is answered, or when its caller leaves before that.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let mut line = Line {
        method: request.method().clone(),
        path: request.uri().path().chars().take(LONGEST_PATH).collect(),
        begun: Instant::now(),
        answered: false,
    };
    let mut response = next.run(request).await;
    line.answer(response.status().as_u16(), response.extensions_mut().remove::<About>());
    response
}

struct Line {
    method: Method,
    path: String,
    begun: Instant,
    answered: bool,
}

impl Line {
    fn answer(&mut self, status: u16, about: Option<About>) {
        self.answered = true;
        let (method, path, ms) = (&self.method, &self.path, self.milliseconds());
        let Some(About { network, payer, outcome }) = about else {
            return info!(%method, ?path, status, ms, "request");
        };
        let payer = payer.as_ref().map(tracing::field::display);
        info!(%method, ?path, status, ms, %network, payer, ?outcome, "request");
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.answered {
            let (method, path, ms) = (&self.method, &self.path, self.milliseconds());
            info!(%method, ?path, ms, "request whose caller left before it was answered");
        }
    }
}
