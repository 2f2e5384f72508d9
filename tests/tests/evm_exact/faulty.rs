//! Stores and endpoints that do what a test tells them to, in front of real ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;
use x402_core::store::{ClaimStore, Key, MemoryStore, Record, Stamp, StoreError, Stored, Swapped};

use super::support::*;

/// What becomes of a writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Works,
    /// Neither happens nor answers.
    HangsBefore,
    /// Happens, and does not answer.
    HangsAfter,
    /// Does not happen.
    Fails,
    /// Happens, and the answer is lost.
    FailsAfter,
    /// Does not happen, for want of room.
    Full,
}

/// A store whose writings are told what becomes of them, by their number.
#[derive(Clone)]
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryStore,
    script: Arc<dyn Fn(usize) -> Write + Send + Sync>,
    writes: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
    /// Something hangs.
    pub(crate) hangs: Arc<Notify>,
}

impl FaultyStore {
    pub(crate) fn new(script: impl Fn(usize) -> Write + Send + Sync + 'static) -> Self {
        Self {
            inner: MemoryStore::new(),
            script: Arc::new(script),
            writes: Arc::default(),
            down: Arc::default(),
            hangs: Arc::default(),
        }
    }

    /// Nothing works any more, or all does as scripted.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    async fn hang(&self) -> ! {
        self.hangs.notify_one();
        std::future::pending().await
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) { Err(lost()) } else { Ok(()) }
    }
}

fn lost() -> StoreError {
    StoreError::unavailable("the connection is lost")
}

impl ClaimStore for FaultyStore {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.check()?;
        self.inner.load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        self.check()?;
        match (self.script)(self.writes.fetch_add(1, Ordering::SeqCst)) {
            Write::Works => self.inner.swap(key, seen, next).await,
            Write::HangsBefore => self.hang().await,
            Write::HangsAfter => {
                let _ = self.inner.swap(key, seen, next).await?;
                self.hang().await
            }
            Write::Fails => Err(lost()),
            Write::FailsAfter => {
                let _ = self.inner.swap(key, seen, next).await?;
                Err(lost())
            }
            Write::Full => Err(StoreError::full("there is no room")),
        }
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        self.check()?;
        self.inner.open(space).await
    }
}

/// What becomes of a call.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Pass,
    Answer(Value),
    Status(u16),
    /// Reaches the node, and is answered with this.
    Lost(u16),
    /// Never reaches the node, and is refused with these words when the test says so.
    Refused(&'static str),
    /// Never reaches the node, and is refused with these words.
    Error(&'static str),
    /// Never reaches the node, and has no answer.
    Hang,
    /// Reaches the node, and has no answer.
    Swallow,
}

type Script = dyn Fn(&str, &Value) -> Act + Send + Sync;

/// An endpoint in front of a node.
#[derive(Clone)]
pub(crate) struct Proxy {
    node: url::Url,
    client: reqwest::Client,
    script: Arc<Mutex<Arc<Script>>>,
    calls: Arc<Mutex<Vec<String>>>,
    /// A call hangs.
    pub(crate) hangs: Arc<Notify>,
    /// A call that waits for the test goes on.
    pub(crate) goes_on: Arc<Notify>,
}

/// A running one.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) proxy: Proxy,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    pub(crate) async fn before(
        chain: &Chain,
        script: impl Fn(&str, &Value) -> Act + Send + Sync + 'static,
    ) -> Self {
        let proxy = Proxy {
            node: chain.rpc_url(),
            client: x402_tests::http().unwrap(),
            script: Arc::new(Mutex::new(Arc::new(script))),
            calls: Arc::default(),
            hangs: Arc::default(),
            goes_on: Arc::default(),
        };
        let app = axum::Router::new().route("/", axum::routing::post(answer)).with_state(proxy.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, proxy, task }
    }

    /// From now on.
    pub(crate) fn script(&self, script: impl Fn(&str, &Value) -> Act + Send + Sync + 'static) {
        *self.proxy.script.lock().unwrap() = Arc::new(script);
    }

    /// How often anything was asked for.
    pub(crate) fn all_calls(&self) -> usize {
        self.proxy.calls.lock().unwrap().len()
    }

    /// How often this was asked for.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.proxy.calls.lock().unwrap().iter().filter(|called| *called == method).count()
    }
}

async fn answer(State(proxy): State<Proxy>, Json(call): Json<Value>) -> Response {
    let method = call["method"].as_str().unwrap().to_owned();
    proxy.calls.lock().unwrap().push(method.clone());
    let script = proxy.script.lock().unwrap().clone();
    let act = script(&method, &call["params"]);
    match act {
        Act::Pass => pass(&proxy, &call).await.into_response(),
        Act::Answer(result) => {
            Json(json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })).into_response()
        }
        Act::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Act::Lost(status) => {
            let _ = pass(&proxy, &call).await;
            StatusCode::from_u16(status).unwrap().into_response()
        }
        Act::Refused(words) => {
            proxy.hangs.notify_one();
            proxy.goes_on.notified().await;
            let error = json!({ "code": -32000, "message": words });
            Json(json!({ "jsonrpc": "2.0", "id": call["id"], "error": error })).into_response()
        }
        Act::Error(words) => {
            let error = json!({ "code": -32600, "message": words });
            Json(json!({ "jsonrpc": "2.0", "id": call["id"], "error": error })).into_response()
        }
        Act::Hang | Act::Swallow => {
            if matches!(act, Act::Swallow) {
                let _ = pass(&proxy, &call).await;
            }
            proxy.hangs.notify_one();
            std::future::pending().await
        }
    }
}

async fn pass(proxy: &Proxy, call: &Value) -> Json<Value> {
    let response = proxy.client.post(proxy.node.clone()).json(call).send().await.unwrap();
    Json(response.json().await.unwrap())
}
