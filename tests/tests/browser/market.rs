//! A chain, a shop on it, and people who come to it with a browser.

use std::{ops::Deref, sync::Arc};

use alloy::primitives::{Address, U256};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use x402_core::{
    gate::{Charge, PaymentGate, Paywall, exact},
    network::{BASE_SEPOLIA, Network},
};
use x402_paywall::PaywallPage;
use x402_tests::{
    Chain,
    browser::{Browser, Setup, Visitor, Wallet},
    chain,
    serve::Serving,
};

use crate::{
    goods::{Exhibit, Good, Goods, Methods, Shelf, Stock},
    harness::{Framework, Stack},
    stacks,
    till::Till,
};

/// Where the shop says that it is; the page must not need it.
pub const ORIGIN: &str = "https://shop.example.com";
/// What everything costs, in atomic units of the dollar.
pub const CENT: u64 = 10_000;

/// An article as any service would serve it: with a style, a script and a picture, in place and from elsewhere.
pub const ARTICLE: &Exhibit = &Exhibit {
    headers: &[("content-type", "text/html; charset=utf-8")],
    body: "<!doctype html><html lang=en><head><meta charset=utf-8><title>On bees</title>\
           <meta name=viewport content='width=device-width'><link rel=stylesheet href=/site.css>\
           <style>h1 { color: rgb(1, 2, 3) }</style></head>\
           <body><h1>On bees – für alle</h1><img id=drawing src=/drawing.png alt='' width=600 height=180>\
           <p>A colony of forty thousand keeps no accounts, and yet nobody in it pays twice.</p>\
           <p>What each of them brings home is taken at the door, weighed, and stored at once.</p>\
           <script>document.body.dataset.inline = 'ran'</script><script src=/site.js></script></body></html>"
        .as_bytes(),
};
pub const DATA: &Exhibit = &Exhibit {
    headers: &[("content-type", "application/json")],
    body: br#"{"hives":[1,2],"exact":12345678901234567890.10}"#,
};
pub const NOTE: &Exhibit = &Exhibit {
    headers: &[("content-type", "text/plain; charset=utf-8")],
    body: "Bienen & <b>Blüten</b> <script>document.title = 'no'</script>".as_bytes(),
};
pub const PICTURE: &Exhibit = &Exhibit { headers: &[("content-type", "image/png")], body: PNG };
pub const TABLE: &Exhibit = &Exhibit {
    headers: &[
        ("content-type", "text/csv"),
        ("content-disposition", "attachment; filename=\"hives.csv\"; filename*=UTF-8''Bienenst%C3%B6cke.csv"),
    ],
    body: b"hive,bees\n1,40000\n",
};
const STYLE: &Exhibit = &Exhibit {
    headers: &[("content-type", "text/css")],
    body:
        b"body { margin: 40px 77px; max-width: 600px; font: 18px/1.6 Georgia, serif } img { max-width: 100% }",
};
const SCRIPT: &Exhibit =
    &Exhibit { headers: &[("content-type", "text/javascript")], body: b"document.body.dataset.file = 'ran'" };

/// Three pixels by two.
const PNG: &[u8] = &[
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 3, 0, 0, 0, 2, 8, 2, 0, 0, 0, 18,
    22, 241, 77, 0, 0, 0, 16, 73, 68, 65, 84, 120, 218, 99, 56, 81, 161, 1, 65, 12, 112, 22, 0, 88, 52, 8,
    113, 177, 221, 113, 203, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
];

/// What is sold at a cent, and what is free.
pub fn shelves(charge: &Charge) -> Vec<Shelf> {
    let shelf = |path, exhibit, price: Option<&Charge>| Shelf {
        path,
        methods: Methods::Get,
        charge: price.cloned(),
        good: Good::Shows(exhibit),
    };
    let sold = |path, exhibit, what: &str| shelf(path, exhibit, Some(&charge.clone().describe(what)));
    vec![
        sold("/article", ARTICLE, "An article on bees"),
        sold("/data", DATA, "All about our hives"),
        sold("/note", NOTE, "A note"),
        sold("/picture", PICTURE, "A picture"),
        sold("/table", TABLE, "Our hives in a table"),
        shelf("/site.css", STYLE, None),
        shelf("/site.js", SCRIPT, None),
        shelf("/drawing.png", PICTURE, None),
    ]
}

/// What everything costs, unless a case says otherwise.
pub fn cent() -> Charge {
    exact("$0.01").on(BASE_SEPOLIA).to(chain::merchant().address())
}

/// The page as it comes.
pub fn page() -> PaywallPage {
    PaywallPage::new()
}

/// A chain, and a shop on it.
pub struct Market {
    pub chain: Chain,
    pub till: Till,
    pub serving: Serving,
    /// What the payer had before.
    pub purse: u64,
    _gate: PaymentGate,
}

impl Market {
    /// Everything at a cent.
    pub async fn open(stack: Stack) -> Self {
        Self::selling(stack, shelves(&cent())).await
    }

    /// Sells this, with the page as it comes.
    pub async fn selling(stack: Stack, shelves: Vec<Shelf>) -> Self {
        Self::with(stack, shelves, page(), &[]).await
    }

    /// Sells this, with this page, on other chains as well.
    pub async fn with(
        stack: Stack,
        shelves: Vec<Shelf>,
        page: impl Paywall,
        others: &[(&Chain, Network)],
    ) -> Self {
        x402_tests::install_crypto();
        let chain = Chain::start().await.unwrap();
        let purse = 100 * CENT;
        chain.mint(chain::payer().address(), purse).await.unwrap();
        let till = Till::on(&[&[(&chain, BASE_SEPOLIA)], others].concat());
        let gate = PaymentGate::builder(ORIGIN)
            .facilitator(till.clone())
            .scheme(x402_evm::exact::server())
            .paywall(page)
            .build()
            .unwrap();
        gate.ready().await.unwrap();
        let (goods, stock) = (Goods::default(), Stock::Priced(shelves));
        let serving = match stack.framework {
            Framework::Axum => stacks::axum::serve(gate.clone(), goods, stock).await.unwrap(),
            Framework::Actix => stacks::actix::serve(gate.clone(), goods, stock).unwrap(),
            Framework::Poem => stacks::poem::serve(gate.clone(), goods, stock).unwrap(),
            Framework::Tower => stacks::tower::serve(gate.clone(), goods, stock).await.unwrap(),
        };
        Self { chain, till, serving, purse, _gate: gate }
    }

    /// The wallet of somebody who can pay.
    pub fn wallet(&self) -> Wallet {
        self.wallet_of("Fox", chain::payer().address())
    }

    pub fn wallet_of(&self, name: &'static str, account: Address) -> Wallet {
        Wallet::new(name, &self.chain, account)
    }

    /// Somebody comes.
    pub async fn person(&self, setup: impl Into<Setup>) -> Person<'_> {
        Person { visitor: browser().await.visitor(setup.into()).await.unwrap(), market: self }
    }

    /// Somebody comes and opens this.
    pub async fn opens(&self, path: &str, setup: impl Into<Setup>) -> Person<'_> {
        let person = self.person(setup).await;
        person.open(&self.serving.url(path)).await.unwrap();
        person
    }

    /// The merchant was paid a cent this often, each by a transfer of the payer's, and the payer has lost no more.
    #[track_caller]
    pub fn sold(&self, times: u64) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
            let moved = (
                self.chain.transfers(merchant).await.unwrap() as u64,
                self.chain.balance(merchant).await.unwrap(),
                self.chain.balance(payer).await.unwrap(),
            );
            let expected = (times, U256::from(times * CENT), U256::from(self.purse - times * CENT));
            assert_eq!(moved, expected, "transfers, the merchant's and the payer's balance: {caller}");
        }
    }

    /// The transaction that paid.
    pub async fn transaction(&self) -> String {
        let transfers = self.chain.transfer_log(chain::merchant().address()).await.unwrap();
        transfers.last().unwrap().transaction.to_string()
    }
}

/// Somebody in front of the page.
pub struct Person<'a> {
    visitor: Visitor,
    market: &'a Market,
}

impl Deref for Person<'_> {
    type Target = Visitor;

    fn deref(&self) -> &Visitor {
        &self.visitor
    }
}

impl Person<'_> {
    /// The same person's second tab.
    pub async fn another_tab(&self, setup: impl Into<Setup>) -> Self {
        let visitor = browser().await.another_tab(&self.visitor, setup.into()).await.unwrap();
        Self { visitor, market: self.market }
    }

    /// Waits until the page is in this state.
    pub async fn sees(&self, state: &str) {
        let condition = format!("document.getElementById('paywall')?.dataset.state === '{state}'");
        self.until(&condition).await.unwrap();
    }

    /// Waits until the page is in this state and says this in its element for it, where it can be seen.
    pub async fn reads(&self, state: &str, id: &str, words: &str) {
        let condition = format!(
            "document.getElementById('paywall')?.dataset.state === '{state}'
             && document.getElementById('{id}').checkVisibility()
             && document.getElementById('{id}').innerText.replaceAll('\u{a0}', ' ').includes({})",
            json!(words)
        );
        self.until(&condition).await.unwrap();
    }

    /// Clicks the button to pay.
    pub async fn pays(&self) {
        self.sees("idle").await;
        self.click("#pay").await.unwrap();
    }

    /// What is in the clipboard after this, and was not before. It belongs to the whole browser.
    pub async fn copies(&self, copy: impl AsyncFnOnce()) -> String {
        static CLIPBOARD: Mutex<()> = Mutex::const_new(());
        let _mine = CLIPBOARD.lock().await;
        self.evaluate("navigator.clipboard.writeText('nothing')").await.unwrap();
        copy().await;
        self.until("navigator.clipboard.readText().then((text) => text !== 'nothing')").await.unwrap();
        self.clipboard().await.unwrap()
    }

    /// The page's pauses between its tries are short, and what a wallet reads has to be there at once.
    pub async fn is_hasty(&self) {
        let hasty = "const { setTimeout: later } = window;
            window.setTimeout = (task, time, ...rest) => later(task, time > 10000 ? time : time / 100, ...rest);";
        self.before_each_page(hasty).await.unwrap();
    }

    /// The page's pauses between its tries are short, and what a wallet reads may take its time, which goes along as a
    /// third argument.
    pub async fn waits_for_reading_alone(&self) {
        let hasty = "const { setTimeout: later } = window;
            window.setTimeout = (task, time, ...rest) =>
                later(task, rest.length || time > 10000 ? time : time / 100, ...rest);";
        self.before_each_page(hasty).await.unwrap();
    }

    /// Waits for the article to be there, whole.
    pub async fn has_the_article(&self) {
        self.until("!!document.getElementById('x402-receipt')").await.unwrap();
        assert_eq!(self.text("h1").await.unwrap(), "On bees – für alle");
    }

    pub async fn attribute(&self, selector: &str, name: &str) -> Value {
        let script = format!("document.querySelector({})?.getAttribute('{name}')", json!(selector));
        self.evaluate(&script).await.unwrap()
    }

    /// Whether an element is to be seen.
    pub async fn shows(&self, selector: &str) -> bool {
        let script = format!(
            "document.querySelector({})?.checkVisibility({{ visibilityProperty: true }}) === true",
            json!(selector)
        );
        self.evaluate(&script).await.unwrap() == true
    }

    /// The page did nothing that nobody sees: nothing its policy forbids, no request elsewhere, no error.
    #[track_caller]
    pub fn behaved(&self) {
        let conduct = self.conduct();
        assert_eq!(conduct.violations, Vec::<String>::new(), "violations of the policy");
        assert_eq!(conduct.foreign(&self.market.serving.url("")), Vec::<String>::new(), "foreign requests");
        assert_eq!(conduct.errors, Vec::<String>::new(), "errors");
        assert!(!conduct.requests.is_empty(), "the browser tells of requests");
    }
}

static BROWSER: Mutex<Option<Arc<Browser>>> = Mutex::const_new(None);

/// One browser for all cases.
pub async fn browser() -> Arc<Browser> {
    let mut browser = BROWSER.lock().await;
    if let Some(browser) = &*browser {
        return browser.clone();
    }
    browser.insert(Arc::new(Browser::start().await.unwrap())).clone()
}

/// Statics are not dropped, and the browser's folder goes with it.
pub fn close_the_browser() {
    BROWSER.blocking_lock().take();
}
