//! Whatever reaches a paid handler was gated, and nobody is asked to pay for a free one: random apps, held against the
//! same without prices. Without a corpus: `cargo fuzz run routes -- -max_len=8`.
#![no_main]

mod actix;
mod apps;
mod axum;
mod poem;
mod tower;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe, catch_unwind},
    pin::Pin,
};

use http::{Method, Request};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use x402_core::{
    facilitator::{Facilitator, FacilitatorError, SettleRequest},
    gate::PaymentGate,
    network::BASE_SEPOLIA,
    payment::{JsonMap, Payment, SettleResponse, Supported, SupportedKind, VerifyResponse, Version},
};

use apps::{App, Framework, Maker, Way};

/// An app that runs; `None`, if its framework takes this for no request.
type Client = Box<dyn Fn(Request<()>) -> Pin<Box<dyn Future<Output = Option<Answer>>>>>;

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    /// Its headers and its body.
    text: String,
}

thread_local! {
    static RIG: (Runtime, PaymentGate) = rig();
    static RAN: Cell<Option<usize>> = const { Cell::new(None) };
    static FIGURES: RefCell<BTreeMap<String, u64>> = RefCell::default();
}

/// Called by every handler. Answers with what it sells.
fn sell(handler: usize) -> String {
    assert_eq!(RAN.replace(Some(handler)), None, "one handler for one request");
    marker(handler)
}

fn marker(handler: usize) -> String {
    format!("sold-{handler}.")
}

fuzz_target!(|data: &[u8]| {
    let mut maker = Maker::new(data);
    let app = maker.app();
    RIG.with(|(runtime, gate)| {
        // Not every app is one: routes may collide.
        let open = |priced| runtime.block_on(open(&app, gate, priced));
        let Some(plain) = quietly(|| open(false)).flatten() else { return count(&app, "no app") };
        let Some(gated) = open(true) else { return count(&app, "no table") };
        count(&app, "app");
        for _ in 0..16 {
            if maker.is_done() {
                break;
            }
            let Some(request) = maker.request(&app) else { continue };
            let ask = |client: &Client| {
                RAN.set(None);
                let answer = runtime.block_on(client(request.clone()))?;
                Some((RAN.get(), answer))
            };
            let Some(Some(expected)) = quietly(|| ask(&plain)) else { continue };
            let Some(found) = ask(&gated) else { panic!("the same is a request of both") };
            judge(&app, &request, expected, found);
        }
    });
});

async fn open(app: &App, gate: &PaymentGate, priced: bool) -> Option<Client> {
    match app.framework {
        Framework::Axum => axum::open(app, gate, priced),
        Framework::Actix => Some(actix::open(app, gate, priced).await),
        Framework::Poem => Some(poem::open(app, gate, priced)),
        Framework::Tower => Some(tower::open(app, gate, priced)),
    }
}

fn judge(
    app: &App,
    request: &Request<()>,
    (meant, plain): (Option<usize>, Answer),
    (ran, gated): (Option<usize>, Answer),
) {
    let scene = || format!("{} {}\n{plain:?}\n{gated:?}\n{app:?}", request.method(), request.uri());
    let costs = |handler: usize| app.handlers[handler].costs(request.method());
    let actix = app.framework == Framework::Actix;
    let tabled = app.any(|group| group.table.is_some());
    let guesses = actix && tabled && (app.has_guards() || app.trims[0]);
    // Of what is taken for another route only that which is taken for a free one runs, and nothing of it leaves.
    let misled = guesses && (app.trims[0] || app.has_free_lines() || app.has_aliases());
    for handler in (0..app.handlers.len()).filter(|handler| costs(*handler)) {
        assert!(!gated.text.contains(&marker(handler)), "{handler} was given away: {}", scene());
        assert!(ran != Some(handler) || misled, "{handler} ran unpaid: {}", scene());
    }
    assert!(ran.is_none() || ran == meant, "{ran:?} ran in the place of {meant:?}: {}", scene());
    // What cannot be told is refused: which route is meant in actix-web; in axum, who matched it, and what is nested where
    // the path has empty segments, one of which axum may have lost.
    let unclear = match app.framework {
        Framework::Actix => tabled,
        Framework::Axum => {
            app.any(|group| group.way == Way::Dispatched) || request.uri().path().contains("//")
        }
        Framework::Poem | Framework::Tower => false,
    };
    let is_fallback = meant.is_some_and(|handler| app.handlers[handler].is_fallback);
    let refused = match gated.status {
        500 => unclear,
        // A table has no word for a fallback, nor for what another one than the first of the scopes finds.
        404 => guesses || (actix && tabled && is_fallback),
        _ => false,
    };
    let verdict = match meant {
        None => "not found",
        Some(handler) if costs(handler) => {
            assert!(gated.status == 402 || refused, "{handler} costs: {}", scene());
            if refused { "priced, refused" } else { "priced" }
        }
        Some(_) if gated == plain => "free",
        // To HEAD, a service may send a body, and behind the gate tells only how long it is.
        Some(_) if request.method() == Method::HEAD && gated.status == plain.status => "free",
        Some(handler) => {
            // A charge on a scope covers the fallback of another; a price may be meant for another route.
            let charged = guesses || (actix && is_fallback && app.any(|group| group.charged));
            assert!(refused || (gated.status == 402 && charged), "{handler} is free: {}", scene());
            "free, refused"
        }
    };
    count(app, verdict);
}

/// `None`, if it panics, which nobody sees.
fn quietly<T>(act: impl FnOnce() -> T) -> Option<T> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let done = catch_unwind(AssertUnwindSafe(act));
    panic::set_hook(hook);
    done.ok()
}

/// With `FIGURES` set, tells from time to time how often what was seen.
fn count(app: &App, what: &str) {
    FIGURES.with_borrow_mut(|figures| {
        *figures.entry(format!("{:?} {what}", app.framework)).or_default() += 1;
        let all = figures.entry("all".to_owned()).or_default();
        *all += 1;
        if *all % 100_000 == 0 && std::env::var_os("FIGURES").is_some() {
            eprintln!("{figures:#?}");
        }
    });
}

fn rig() -> (Runtime, PaymentGate) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let gate = runtime.block_on(async {
        let gate = PaymentGate::builder("https://shop.example.com")
            .facilitator(Nobody)
            .scheme(x402_evm::exact::server())
            .build()
            .expect("a gate");
        gate.ready().await.unwrap();
        gate
    });
    (runtime, gate)
}

/// A facilitator that is never asked: nobody pays.
struct Nobody;

impl Facilitator for Nobody {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        let kind = |version| SupportedKind {
            version,
            scheme: "exact".to_owned(),
            network: BASE_SEPOLIA,
            extra: JsonMap::new(),
        };
        Ok(Supported { kinds: vec![kind(Version::V1), kind(Version::V2)], ..Supported::default() })
    }

    async fn verify(&self, _: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        panic!("nobody pays")
    }

    async fn settle(&self, _: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        panic!("nobody pays")
    }
}
