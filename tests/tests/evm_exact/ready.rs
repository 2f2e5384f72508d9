//! An embedded facilitator whose chain cannot be used is not ready, and becomes so by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use x402_axum::GateExt;
use x402_core::facilitator::Facilitator;
use x402_core::gate::{PaymentGate, exact as priced};
use x402_core::store::{ClaimStore, Key, MemoryStore, Record, Stamp, StoreError, Stored, Swapped};
use x402_facilitator::LocalFacilitator;

use super::faulty::{Act, Endpoint, FaultyStore, Write};
use super::support::*;

const SPACE: &str = "settle:eip155:84532";

fn networks(kinds: Vec<x402_core::payment::SupportedKind>) -> Vec<String> {
    let mut networks: Vec<_> = kinds.into_iter().map(|kind| kind.network.to_string()).collect();
    networks.dedup();
    networks
}

/// A shop in axum with an embedded facilitator, over a socket; the URL of what costs a cent.
async fn shop(facilitator: LocalFacilitator) -> (String, PaymentGate) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let gate =
        PaymentGate::builder(&origin).facilitator(facilitator).scheme(exact::server()).build().unwrap();
    let price = priced("$0.01").on(Network::evm(BASE_SEPOLIA)).to(chain::merchant().address().to_string());
    let app = axum::Router::new()
        .route("/paid", axum::routing::get(async || "goods").layer(gate.charge(price).unwrap()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("{origin}/paid"), gate)
}

async fn status(url: &str) -> u16 {
    x402_tests::http().unwrap().get(url).send().await.unwrap().status().as_u16()
}

/// Nobody calls anything but a customer.
#[tokio::test]
async fn a_shop_over_a_dead_node_or_another_chain_is_not_ready_until_it_is_right() {
    let (chain, _) = start().await;
    let scripts: [fn(&str) -> Act; 3] = [
        |_| Act::Status(503),
        |method| if method == "eth_chainId" { Act::Answer(json!("0x1")) } else { Act::Pass },
        |_| Act::Hang,
    ];
    for script in scripts {
        let endpoint = Endpoint::before(&chain, move |method, _| script(method)).await;
        let facilitator = facilitator_at(&endpoint.url).call_timeout(Duration::from_millis(500));
        let (url, _gate) = shop(LocalFacilitator::new().with(facilitator)).await;
        until(async || endpoint.calls("eth_chainId") > 0).await;
        assert_eq!(status(&url).await, 503);
        until(async || endpoint.calls("eth_chainId") > 1).await;
        assert_eq!(status(&url).await, 503);
        endpoint.script(|_, _| Act::Pass);
        until(async || status(&url).await == 402).await;
    }
}

/// The same with a node that is started after the shop, and paid through.
#[tokio::test]
async fn a_node_that_comes_late_is_found() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let facilitator = facilitator_at(&format!("http://127.0.0.1:{port}"));
    let (url, _gate) = shop(LocalFacilitator::new().with(facilitator)).await;
    assert_eq!(status(&url).await, 503);
    let chain = Chain::start_at(BASE_SEPOLIA, port).await.unwrap();
    chain.mint(chain::payer().address(), FUNDS).await.unwrap();
    until(async || status(&url).await == 402).await;
    let client = x402_reqwest::Client::builder()
        .scheme(exact::client(chain::payer()))
        .max_per_request("$0.01")
        .build()
        .unwrap();
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "goods"));
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn why_it_is_not_ready_is_said_without_credentials() {
    let (chain, _) = start().await;
    let other = Endpoint::before(&chain, |method, _| {
        if method == "eth_chainId" { Act::Answer(json!("0x2105")) } else { Act::Pass }
    })
    .await;
    for (host, words) in [
        ("127.0.0.1:1", vec!["could not connect", "URL right?"]),
        (other.url.trim_start_matches("http://"), vec!["serves eip155:8453", "expected eip155:84532"]),
    ] {
        let facilitator = facilitator_at(&format!("http://user:SECRET@{host}/?key=SECRET"));
        let error = LocalFacilitator::new().with(facilitator).supported().await.unwrap_err().to_string();
        assert!(error.starts_with("eip155:84532: ") && error.contains(host), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
}

/// Another chain's customers notice nothing of it.
#[tokio::test]
async fn a_dead_chain_takes_no_other_with_it() {
    let (chain, facilitator) = start().await;
    let endpoint = Endpoint::before(&chain, |_, _| Act::Hang).await;
    let base = ExactFacilitator::connect(&endpoint.url, Network::evm(8453), chain::facilitator())
        .unwrap()
        .call_timeout(Duration::from_secs(1));
    let both = LocalFacilitator::new().with(base).with(facilitator);
    assert_eq!(networks(both.supported().await.unwrap().kinds), ["eip155:84532"]);
    let payment = signed(Version::V2, &requirements()).await;
    settled(both.settle((&payment).into()).await.unwrap());
    assert_eq!(networks(both.supported().await.unwrap().kinds), ["eip155:84532"]);
    // It is looked at again, when the call that hangs has been given up.
    endpoint
        .script(|method, _| if method == "eth_chainId" { Act::Answer(json!("0x2105")) } else { Act::Pass });
    let both = Arc::new(both);
    until(async || networks(both.supported().await.unwrap().kinds) == ["eip155:8453", "eip155:84532"]).await;
}

/// Who asks at once shares one look, and what was found out once costs no call any more.
#[tokio::test]
async fn a_look_is_shared_and_made_once() {
    let (chain, _) = start().await;
    let endpoint =
        Endpoint::before(
            &chain,
            |method, _| if method == "eth_chainId" { Act::Refused("busy") } else { Act::Pass },
        )
        .await;
    let local = LocalFacilitator::new().with(facilitator_at(&endpoint.url));
    let asked = || join_all((0..50).map(|_| local.supported()));
    let first = async {
        endpoint.proxy.hangs.notified().await;
        endpoint.proxy.goes_on.notify_one();
    };
    let (answers, ()) = tokio::join!(asked(), first);
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(endpoint.all_calls(), 1, "one call for fifty who ask at once");
    endpoint.script(|_, _| Act::Pass);
    until(async || local.supported().await.is_ok()).await;
    let calls = endpoint.all_calls();
    for answer in asked().await {
        answer.unwrap();
    }
    assert_eq!(endpoint.all_calls(), calls, "what is known is not asked again");
    // And a moment's silence takes nothing away.
    endpoint.script(|_, _| Act::Status(503));
    local.supported().await.unwrap();
}

/// A store that counts who asks it what is open.
#[derive(Clone)]
struct Counting {
    inner: MemoryStore,
    asked: Arc<AtomicUsize>,
    fails: usize,
}

impl ClaimStore for Counting {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.inner.load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        self.inner.swap(key, seen, next).await
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.fails {
            return Err(StoreError::unavailable("the connection is lost"));
        }
        self.inner.open(space).await
    }
}

/// What a former process sent is looked up by itself, once, when node and store are there.
#[tokio::test]
async fn what_a_former_process_sent_is_recovered_when_the_node_comes_back() {
    let (chain, _) = start().await;
    let payment = signed(Version::V2, &requirements()).await;
    // Mined, and its answer not written down.
    let store = FaultyStore::new(|number| if number == 1 { Write::HangsBefore } else { Write::Works });
    let settling = tokio::spawn({
        let (facilitator, payment) = (facilitator_of(&chain).store(store.clone()), payment.clone());
        async move { facilitator.settle((&payment).into()).await }
    });
    store.hangs.notified().await;
    settling.abort();
    assert_eq!(store.inner.open(SPACE).await.unwrap().len(), 1);

    let endpoint = Endpoint::before(&chain, |_, _| Act::Status(503)).await;
    let counting = Counting { inner: store.inner.clone(), asked: Arc::default(), fails: 1 };
    let facilitator = facilitator_at(&endpoint.url).store(counting.clone());
    let (url, _gate) = shop(LocalFacilitator::new().with(facilitator.clone())).await;
    until(async || endpoint.calls("eth_chainId") > 1).await;
    assert_eq!(counting.asked.load(Ordering::SeqCst), 0, "it needs the chain");
    endpoint.script(|_, _| Act::Pass);
    until(async || status(&url).await == 402).await;
    until(async || store.inner.open(SPACE).await.unwrap().is_empty()).await;
    // Whoever asks meanwhile, by hand or by paying, has nothing looked up once more.
    let _ = tokio::join!(facilitator.recover(), facilitator.ready(), facilitator.ready());
    settled(facilitator.settle((&payment).into()).await.unwrap());
    assert_eq!(counting.asked.load(Ordering::SeqCst), 2, "one that failed, and one");
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}
